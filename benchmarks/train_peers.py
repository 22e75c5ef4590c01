"""How fast real training is beside its peers, with and without a straggler.

    OMP_NUM_THREADS=1 python benchmarks/train_peers.py [--json] [--tasks mlp ...] [--rounds N]
                                                       [--mbit N]

Trains the same model on the same mini-batches from the same weights by each *medium*, in processes
that stay, one torch thread each, all media by turns, so that whatever else the machine does
disturbs all alike. Ours have processes of their own, as dualrt has the C library keep the memory
that a step frees, from which the others would gain. What is counted is steps a second of all
learners together, after the first fifth of a turn, as ratios within a round; the median over
rounds, the least and the most.

Media: independent workers, who do not talk and are the limit; torch's DistributedDataParallel over
gloo (`ddp`), and with all gradients in one bucket, so that nothing overlaps (`ddp-one-bucket`);
PostLocalSGDOptimizer, averaging every 4th step; decent-dp and hivemind, if they are installed (`pip
install decent-dp hivemind`); and dualrt's ssgd, local-sgd (every 4th step as well), sd-psgd,
adpsgd, adpsgd with a period of 4 (`adpsgd-4th`), and adpsgd that takes up to 16 steps beside one
exchange (`adpsgd-ahead`), through the function that `dualrt train` calls.

Media that speak as often are compared with each other: ddp, decent-dp and adpsgd in every step,
PostLocalSGDOptimizer and adpsgd-4th in every 4th. adpsgd-ahead, which speaks as often as it can
without waiting, is compared with the fastest of all peers. hivemind is in no ratio, and runs only
when it is asked for (`--media`): it averages in rounds that take it seconds to arrange, so its rate
of steps says how long its rounds are, in turns of 240 steps. Its own processes' time is not in the
column of processor time.

Tasks: `mlp` 64-50-50-10, batch 16 (6 k parameters: what a step costs besides); `wide`
64-1024-1024-1024-10, batch 32 (2.2 M parameters: what the exchange costs); `blstm` 2 x 128, batch
32 (the model of sims/speech-adpsgd.toml). With as many processes as cores these leave no core for
an exchange, so all that it costs is missing from the rate. `device` and `device-wide` are `blstm`
and `wide` on an accelerator, as the processor sees it: a gradient takes 30 ms, in which the
processor has nothing to do, and gradients and weights are as large (0.7 and 2.2 M parameters).
There the rate says whether the exchange is hidden.

With `--mbit` each process is on a host of its own, a network namespace, and hosts are joined by a
switch with links of that speed; nothing is encrypted. It needs root.

With as many processes as cores, whatever else runs on the machine takes them from the one medium
or the other, and the figures say nothing: `--first`, for root, puts those that train before it.

A straggler sleeps between its forward and its backward pass for 2 or 9 times what a gradient takes
by itself, which is measured once and is the same for every medium.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import fmean, median
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from rich.console import Console
from rich.table import Table

# A script finds its neighbours by their own names, the type checker by the folder's too.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.hosts import Host, can_be_made, switched

Reply: TypeAlias = dict[str, Any]
"""What train_peers_worker.py says of a turn."""

WORKER = Path(__file__).with_name("train_peers_worker.py")
MEDIA = (
    "independent",
    "ddp",
    "ddp-one-bucket",
    "post-local-sgd",
    "decent-dp",
    "ssgd",
    "local-sgd",
    "sd-psgd",
    "adpsgd",
    "adpsgd-4th",
    "adpsgd-ahead",
)
ON_REQUEST = ("hivemind",)
OURS = ("ssgd", "local-sgd", "sd-psgd", "adpsgd", "adpsgd-4th", "adpsgd-ahead")
RATIOS: Mapping[str, tuple[str, Sequence[str]]] = {
    "rate_ratio_independent": ("adpsgd", ("independent",)),
    "rate_ratio_ddp": ("ssgd", ("ddp",)),
    "rate_ratio_post_local_sgd": ("local-sgd", ("post-local-sgd",)),
    "rate_ratio_decent_dp": ("sd-psgd", ("decent-dp",)),
    "rate_ratio_every_step": ("adpsgd", ("ddp", "decent-dp")),
    "rate_ratio_every_4th": ("adpsgd-4th", ("post-local-sgd",)),
    "rate_ratio_best_peer": ("adpsgd", ("ddp", "post-local-sgd", "decent-dp")),
    "rate_ratio_ahead": ("adpsgd-ahead", ("ddp", "post-local-sgd", "decent-dp")),
}
"""Of which two rates: ours, and that of whichever of theirs is the fastest beside it."""

DEVICE, PROCESSOR = ("device", "device-wide"), ("mlp", "wide", "blstm")
"""Tasks that leave cores free, and that do not."""

KEYS = {
    "rate_ratio_independent": "adpsgd / independent workers (goal, where cores are free: 0.95)",
    "rate_ratio_ddp": "ssgd / ddp (goal: 0.95)",
    "rate_ratio_post_local_sgd": "local-sgd / PostLocalSGDOptimizer",
    "rate_ratio_decent_dp": "sd-psgd / decent-dp",
    "rate_ratio_every_step": "adpsgd / the faster of ddp and decent-dp, as talkative (goal: 1)",
    "rate_ratio_every_4th": "adpsgd-4th / PostLocalSGDOptimizer, as talkative (goal: 1)",
    "rate_ratio_best_peer": "adpsgd / the fastest of ddp, post-local-sgd, decent-dp, as they are",
    "rate_ratio_ahead": "adpsgd-ahead / the fastest of these (goal: 1)",
    "cells": "the same for each task, number of processes and straggler, with the least and the "
    "most of each ratio over rounds (ranges), and for each medium steps_per_s, also its "
    "steps_per_s_range, cpu_ms_per_step and loss after samples_compared samples",
    "cores": "processors that this process may use",
    "load": "load average before and after",
    "mbit_per_s": "what the links between hosts carry; null where all is on one",
    "skipped": "media that could not be run, and why",
}
"""What `--json` prints; ratios at the top are the least over the devices' cells, those that end
in `_cpu` the least over cells of the other tasks that have a core a process."""

CPU = "_cpu"

WARM = 0.2
"""Share of a turn's steps that is not counted."""
TIMING = 5
"""Steps of a learner, from which on it has a say in when counting begins and ends."""
FIRST_STEPS = {"mlp": 400, "wide": 40, "blstm": 16, "device": 24, "device-wide": 24}
FIXED_STEPS = {"hivemind": 240}
"""Of a turn, whatever its rate: it begins to average when many steps are over, and is slow then."""
GROWTH = 4
"""Of a turn's steps from one to the next, at most."""
TRIES = 5
"""Of a turn, with more steps each time, until there is an instant at which all train."""
MOST_URGENT = -20
"""The least that niceness can be."""
LOSSES = 16
"""Steps whose mean loss is given."""


class Cell(NamedTuple):
    """One comparison."""

    task: str
    processes: int
    factor: float
    """Of the last learner."""

    @property
    def factors(self) -> list[float]:
        """Everyone's."""
        return [1.0] * (self.processes - 1) + [self.factor]


class Result(NamedTuple):
    """What a turn came to."""

    steps_per_s: float
    cpu_s_per_step: float
    losses: list[float]
    """Of all learners, in the order of time."""


class Crew:
    """The processes that take turns: on this host, or each on one of `hosts`."""

    def __init__(self, processes: int, *, first: bool, hosts: Sequence[Host] = ()) -> None:
        named: list[str | None] = [host.interface for host in hosts]
        self._interfaces = named or [None] * processes
        self._address = hosts[0].address if hosts else "127.0.0.1"
        self._workers = []
        for rank in range(processes):
            environment, prefix = {**os.environ, "OMP_NUM_THREADS": "1"}, list[str]()
            if hosts:
                environment["GLOO_SOCKET_IFNAME"] = hosts[rank].interface
                prefix += hosts[rank].prefix
            worker = subprocess.Popen(
                [*prefix, sys.executable, str(WORKER)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=environment,
                start_new_session=first,
            )
            self._workers.append(worker)
        if first:
            for worker in self._workers:
                put_first(worker.pid)

    def take(self, cell: Cell, medium: str, steps: int, gradient_s: float) -> list[Reply] | str:
        """Everyone's replies, or why there are none."""
        turn = {
            "task": cell.task,
            "medium": medium,
            "learners": cell.processes,
            "factors": cell.factors,
            "gradient_s": gradient_s,
            "steps": steps,
            "port": free_port(),
            "address": self._address,
        }
        for rank, (worker, interface) in enumerate(
            zip(self._workers, self._interfaces, strict=True)
        ):
            assert worker.stdin is not None
            own = {"rank": rank, "interface": interface}
            worker.stdin.write(json.dumps({**turn, **own}) + "\n")
            worker.stdin.flush()
        replies = [self._reply(worker) for worker in self._workers]
        for reply in replies:
            if "skipped" in reply:
                return str(reply["skipped"])
        return replies

    def _reply(self, worker: subprocess.Popen[str]) -> Reply:
        assert worker.stdout is not None
        line = worker.stdout.readline()
        if not line:
            raise SystemExit(f"a process ended with exit code {worker.wait()}")
        answer: Reply = json.loads(line)
        return answer

    def end(self) -> None:
        """No process is left."""
        for worker in self._workers:
            worker.kill()
        for worker in self._workers:
            worker.communicate()


class Crews(NamedTuple):
    """Those of a number of processes."""

    theirs: Crew
    ours: Crew

    def of(self, medium: str) -> Crew:
        """Whose turn it is."""
        return self.ours if medium in OURS else self.theirs


@contextmanager
def crews_of(processes: int, *, first: bool, mbit_per_s: float | None = None) -> Iterator[Crews]:
    """Processes for as long as they are needed, before all others of the machine or not.

    With `mbit_per_s`, each is on a host of its own, whose link carries so much.
    """
    with ExitStack() as stack:
        hosts: Sequence[Host] = ()
        if mbit_per_s is not None:
            hosts = stack.enter_context(switched(processes, mbit_per_s))
        crews = []
        for _ in Crews._fields:
            crews.append(Crew(processes, first=first, hosts=hosts))
            stack.callback(crews[-1].end)
        yield Crews(*crews)


def put_first(pid: int) -> None:
    """Give a process that leads its session the cores before all others of the machine.

    Where the kernel groups processes by session, niceness counts within a group alone, and the
    group has one of its own.
    """
    group = Path(f"/proc/{pid}/autogroup")
    try:
        os.setpriority(os.PRIO_PROCESS, pid, MOST_URGENT)
        if group.exists():
            group.write_text(str(MOST_URGENT))
    except PermissionError as error:
        raise SystemExit(f"--first needs root, to go before others: {error}") from error


def free_port() -> int:
    """A port that nobody has just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def result(replies: Sequence[Reply]) -> Result:
    """Rates while everyone trained, after a warm-up."""
    steps = [np.array(reply["steps"]) for reply in replies]
    # A straggler of few steps is counted in the time of the others.
    timing = [rows for rows in steps if len(rows) >= TIMING] or steps
    begin_s = max(rows[int(WARM * len(rows)), 0] for rows in timing)
    end_s = min(rows[-1, 0] for rows in timing)
    rate, cpu_s, counted = 0.0, 0.0, 0
    for rows, reply in zip(steps, replies, strict=True):
        warm = rows[(begin_s <= rows[:, 0]) & (rows[:, 0] <= end_s), 0]
        if len(warm) < 2:
            # A straggler's: one step in this time, or none.
            rate += len(warm) / (end_s - begin_s)
            continue
        rate += (len(warm) - 1) / (warm[-1] - warm[0])
        clock, processor = np.array(reply["processor"]).T
        cpu_s += float(np.diff(np.interp((warm[0], warm[-1]), clock, processor))[0])
        counted += len(warm) - 1
    merged = np.concatenate(steps)
    losses = merged[np.argsort(merged[:, 0], kind="stable"), 1]
    return Result(float(rate), cpu_s / max(1, counted), losses.tolist())


def turn(
    crew: Crew, cell: Cell, medium: str, steps: int, gradient_s: float
) -> tuple[Result | str, int]:
    """What a turn came to, or why there is none; and of how many steps it was.

    A short one of more processes than cores may be over for one learner before another has begun.
    It is taken again with more. Raises SystemExit if that does not help.
    """
    for more in range(TRIES):
        taken = crew.take(cell, medium, steps * GROWTH**more, gradient_s)
        if isinstance(taken, str):
            return taken, steps
        got = result(taken)
        if got.steps_per_s > 0:
            return got, steps * GROWTH**more
    raise SystemExit(f"{medium}: in {TRIES} turns there was no instant at which all trained")


def measure(
    crews: Crews, cell: Cell, media: Sequence[str], rounds: int, turn_s: float
) -> tuple[dict[str, list[Result]], dict[str, str]]:
    """Rounds of turns; the first, in which libraries are loaded, only says how many steps fit."""
    alone = crews.theirs.take(cell, "alone", 0, 0.0)
    assert not isinstance(alone, str)
    gradient_s = min(reply["gradient_s"] for reply in alone)
    steps = {medium: FIXED_STEPS.get(medium, FIRST_STEPS[cell.task]) for medium in media}
    results: dict[str, list[Result]] = {medium: [] for medium in media}
    skipped: dict[str, str] = {}
    for round_ in range(rounds + 1):
        for medium in media:
            if medium in skipped:
                continue
            got, steps[medium] = turn(crews.of(medium), cell, medium, steps[medium], gradient_s)
            if isinstance(got, str):
                skipped[medium] = got
                continue
            if round_ > 0:
                results[medium].append(got)
            if medium in FIXED_STEPS:
                continue
            # A first turn is short, and its rate may be far off.
            fitting = min(GROWTH * steps[medium], round(got.steps_per_s * turn_s))
            steps[medium] = max(FIRST_STEPS[cell.task], fitting)
    return {medium: found for medium, found in results.items() if found}, skipped


class Ratio(NamedTuple):
    """Of two rates, over rounds."""

    median: float
    least: float
    most: float


def ratio(
    results: Mapping[str, Sequence[Result]], ours: str, theirs: Sequence[str]
) -> Ratio | None:
    """Of rates, within rounds, to the peer that comes off best; None if a medium is missing.

    Not to whoever was fastest in each round, which would be the luckiest of several.
    """
    found = []
    for peer in theirs:
        rounds = [
            mine.steps_per_s / other.steps_per_s
            for mine, other in zip(results.get(ours, ()), results.get(peer, ()), strict=False)
        ]
        if rounds:
            found.append(Ratio(median(rounds), min(rounds), max(rounds)))
    return min(found, default=None)


def figures(cell: Cell, results: Mapping[str, Sequence[Result]], batch: int) -> dict[str, Any]:
    """What is told of a cell."""
    compared = min(len(one.losses) for found in results.values() for one in found)
    ratios = {key: ratio(results, *of) for key, of in RATIOS.items()}
    return {
        **cell._asdict(),
        **{key: found and found.median for key, found in ratios.items()},
        "ranges": {key: found[1:] for key, found in ratios.items() if found is not None},
        "samples_compared": compared * batch,
        "media": {
            medium: {
                "steps_per_s": median(one.steps_per_s for one in found),
                "steps_per_s_range": [
                    choice(one.steps_per_s for one in found) for choice in (min, max)
                ],
                "cpu_ms_per_step": 1e3 * median(one.cpu_s_per_step for one in found),
                "loss": median(
                    fmean(one.losses[max(0, compared - LOSSES) : compared]) for one in found
                ),
            }
            for medium, found in results.items()
        },
    }


def measure_all(options: argparse.Namespace) -> dict[str, Any]:
    """All cells."""
    cores, load = len(os.sched_getaffinity(0)), [os.getloadavg()[0]]
    batches = {"mlp": 16, "wide": 32, "blstm": 32, "device": 32, "device-wide": 32}
    cells, skipped = [], {}
    for processes in options.processes:
        with crews_of(processes, first=options.first, mbit_per_s=options.mbit) as crews:
            for task in options.tasks:
                for factor in options.stragglers:
                    cell = Cell(task, processes, factor)
                    results, without = measure(
                        crews, cell, options.media, options.rounds, options.turn_s
                    )
                    skipped.update(without)
                    cells.append(figures(cell, results, batches[task]))
                    if not options.json:
                        Console().print(table(cells[-1]))
    load.append(os.getloadavg()[0])
    fitting = [cell for cell in cells if cell["processes"] <= cores]
    least = least_of(cells, DEVICE)
    least |= {key + CPU: value for key, value in least_of(fitting, PROCESSOR).items()}
    return {
        **least,
        "cells": cells,
        "cores": cores,
        "load": load,
        "mbit_per_s": options.mbit,
        "skipped": skipped,
    }


def least_of(cells: Sequence[Mapping[str, Any]], tasks: Sequence[str]) -> dict[str, Any]:
    """The least of each ratio over cells of some tasks; None where there is none."""
    return {
        key: min(
            (cell[key] for cell in cells if cell["task"] in tasks and cell[key] is not None),
            default=None,
        )
        for key in RATIOS
    }


def table(cell: Mapping[str, Any]) -> Table:
    """A cell's media, and under them its ratios."""
    straggler = "no straggler" if cell["factor"] == 1 else f"one {cell['factor']:g} x slower"
    ratios = "; ".join(
        f"{KEYS[key].split(' (')[0]} {cell[key]:.3f} ({least:.2f} to {most:.2f})"
        for key, (least, most) in cell["ranges"].items()
    )
    made = Table(
        "medium",
        "steps/s",
        "CPU ms/step",
        f"loss after {cell['samples_compared']:,} samples",
        title=f"{cell['task']}, {cell['processes']} processes, {straggler}",
        caption=ratios,
    )
    for column in made.columns[1:]:
        column.justify = "right"
    for medium, row in cell["media"].items():
        least, most = row["steps_per_s_range"]
        made.add_row(
            medium,
            f"{row['steps_per_s']:.1f} ({least:.1f} to {most:.1f})",
            f"{row['cpu_ms_per_step']:.2f}",
            f"{row['loss']:.3f}",
        )
    return made


def main() -> None:
    """Measure and print."""
    keys = "\n".join(
        f"  {key:30}{meaning}"
        + (f"\n  {key + CPU:30}the same where processes fill the cores" if key in RATIOS else "")
        for key, meaning in KEYS.items()
    )
    parser = argparse.ArgumentParser(
        description="How fast real training is beside its peers, with and without a straggler.",
        epilog=f"keys of --json:\n{keys}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="print one object on stdout alone")
    parser.add_argument("--rounds", type=int, default=3, help="turns of a medium that count")
    parser.add_argument("--turn-s", type=float, default=2.0, help="how long a turn about is")
    parser.add_argument("--tasks", nargs="+", choices=FIRST_STEPS, default=list(FIRST_STEPS))
    parser.add_argument("--processes", nargs="+", type=int, default=[2, 4])
    parser.add_argument("--stragglers", nargs="+", type=float, default=[1.0, 3.0, 10.0])
    parser.add_argument("--media", nargs="+", choices=[*MEDIA, *ON_REQUEST], default=list(MEDIA))
    parser.add_argument(
        "--first", action="store_true", help="processes go before all others of the machine (root)"
    )
    parser.add_argument("--mbit", type=float, help="each on a host of its own, with such links")
    options = parser.parse_args()
    if options.mbit is not None and not can_be_made(switched(1, options.mbit)):
        parser.error("hosts are network namespaces: needs root, iproute2 and the kernel's tbf")
    found = measure_all(options)
    if options.json:
        print(json.dumps(found))
        return
    for key in RATIOS:
        for name, where in ((key, "on a device"), (key + CPU, "with a core a process")):
            if found[name] is not None:
                print(f"{KEYS[key]}: {found[name]:.2f}, the least {where}")
    for medium, reason in found["skipped"].items():
        print(f"{medium} was left out: {reason}")


if __name__ == "__main__":
    main()
