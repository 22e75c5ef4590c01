"""Does the runtime do what the simulator says, on hosts that talk over a network?

    python benchmarks/predicted.py [--json] [--mbit 200,400] [--hosts 4] [--tcp NAME] [--steps N]
                                   [--cases ...]

One scenario is trained for real, by processes on several hosts, and simulated. Of the hosts the
simulator is told two things, what their links carry and what a gradient takes of one learner alone;
all else of software and memory is the shipped `desk`. So rates and staleness of each algorithm are
predictions, and nothing is fitted to them. Both are read from the records of either run, without
its first fifth and its last tenth.

Hosts are network namespaces of this machine at one switch (`hosts.py`; needs root). Gradients are
those of a device, 30 ms in which the processor is free, of a model of 2.7 MB
(`train_peers_tasks.py`): so learners do not compete for cores with what they compute, and a message
takes longer than a gradient. What the runtime itself takes of the cores is not modelled, and is
part of the error; to keep it small, nothing is encrypted.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import fmean, median
from typing import Any, NamedTuple

from rich.console import Console, RenderableType
from rich.progress import track
from rich.table import Table

from dualrt.core.records import Span
from dualrt.observe.recorder import Applied, Record, read_records

# A script finds its neighbours by their own names, the type checker by the folder's too.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.figures import options, tell
from benchmarks.hosts import PAYLOAD, TCP, Host, can_be_made, switched

ROOT = Path(__file__).resolve().parents[1]
PORT = 29_610
TIMEOUT_S = 300.0
BATCH, SAMPLES = 32, 4096
"""Of the task: of a mini-batch, and of an epoch."""

FIRST, LAST = 0.2, 0.9
"""Shares of a run's time between which it is looked at."""

SCENARIO = "digits-adpsgd"
"""What the settings are laid over."""

KEYS = {
    "tcp": "the hosts' congestion control",
    "gradient_s": "what a gradient takes of one learner alone, as measured",
    "cases": "for each link and case: case, mbit_per_s, learners, and steps_per_s and staleness of "
    "all learners, real and predicted, and error, predicted / real - 1",
    "rms_error": "root mean square of log(predicted / real) of steps a second",
    "worst_error": "the error farthest from 0",
    "load": "load average at the end",
}
"""What `--json` prints."""

SLOW = "[{learner = 0, factor = 3}]"
# Over before the part of a run that is looked at begins: what is seen is what it leaves behind.
STUMBLES = "[{learner = 0, factor = 5, end_s = 0.5}]"


class Case(NamedTuple):
    """What is run: settings of the scenario, and how many learners a host has."""

    settings: Mapping[str, Any]
    per_host: int = 1


def _case(name: str, per_host: int = 1, **more: Any) -> Case:
    settings = {f"algorithm.{key}": value for key, value in more.items()}
    return Case({"algorithm.name": name, **settings}, per_host)


CASES: Mapping[str, Case] = {
    "ssgd": _case("ssgd"),
    "ssgd, one bucket": _case("ssgd", bucket_bytes=0),
    "ssgd, one 3 times slower": Case({"algorithm.name": "ssgd", "faults.stragglers": SLOW}),
    "delay-by-one": _case("delay-by-one"),
    "local-sgd, every 4th step": _case("local-sgd", period=4),
    "sd-psgd": _case("sd-psgd"),
    "sd-psgd, one that stumbles": Case(
        {"algorithm.name": "sd-psgd", "faults.stragglers": STUMBLES}
    ),
    "adpsgd": _case("adpsgd"),
    "adpsgd, bfloat16": Case({"algorithm.name": "adpsgd", "training.wire": "bfloat16"}),
    "adpsgd, one 3 times slower": Case({"algorithm.name": "adpsgd", "faults.stragglers": SLOW}),
    "adpsgd, locks": _case("adpsgd", exchange="lock"),
    "adpsgd, every 4th step": _case("adpsgd", period=4),
    "adpsgd, 8 steps beside an exchange": _case("adpsgd", overlap=8),
    "h-adpsgd, 2 a host": _case("h-adpsgd", per_host=2),
}


class Seen(NamedTuple):
    """What a run's records come to."""

    steps_per_s: float
    staleness: float
    gradient_s: float
    """The median."""


def seen(folder: Path) -> Seen:
    """Read the records below a folder; of a real run each process has left its own there."""
    files = {file.parent for file in folder.rglob("records-*")}
    records: list[Record] = [record for file in sorted(files) for record in read_records(file)]
    applied = [record for record in records if isinstance(record, Applied)]
    end_s = max(record.time_s for record in applied)
    looked_at = [one for one in applied if FIRST * end_s <= one.time_s < LAST * end_s]
    gradients = [one for one in records if isinstance(one, Span) and one.kind == "gradient"]
    return Seen(
        sum(one.update.samples for one in looked_at) / BATCH / ((LAST - FIRST) * end_s),
        fmean(one.update.staleness for one in looked_at),
        median(span.end_s - span.start_s for span in gradients),
    )


def words(case: Case, learners: int, steps: int) -> list[str]:
    """What both runs are told."""
    settings = {
        "learners": learners,
        "workload": f'{{name = "benchmarks.train_peers_tasks:Learned", batch = {BATCH}, '
        'task = "device"}',
        "training.epochs": steps * learners * BATCH / SAMPLES,
        "training.schedule.rate": 0.001,
        **case.settings,
    }
    return [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]


def trained(hosts: Sequence[Host], case: Case, learners: int, steps: int, folder: Path) -> Seen:
    """Train on the hosts, a process a learner, as torchrun would start them."""
    told = words(case, learners, steps)
    folder.mkdir(parents=True)
    with ExitStack() as stack:
        processes = []
        for rank in range(learners):
            number, local = divmod(rank, case.per_host)
            environment = {
                "RANK": rank,
                "WORLD_SIZE": learners,
                "LOCAL_RANK": local,
                "LOCAL_WORLD_SIZE": case.per_host,
                "GROUP_RANK": number,
                "GROUP_WORLD_SIZE": learners // case.per_host,
                "MASTER_ADDR": hosts[0].address,
                "MASTER_PORT": PORT,
                "OMP_NUM_THREADS": 1,
            }
            host = hosts[number]
            here = ["--set", f"real.interface={host.interface}", "--set", "real.curve=off"]
            command = [sys.executable, "-m", "dualrt", "train", SCENARIO, "--json"]
            said = stack.enter_context(Path(folder, f"said-{rank}").open("w"))
            process = subprocess.Popen(
                [*host.prefix, *command, *told, *here, "--out", str(folder / str(rank))],
                env={**os.environ, **{key: str(value) for key, value in environment.items()}},
                cwd=ROOT,
                stdout=subprocess.DEVNULL,
                stderr=said,
            )
            # Last in, first out: killed, and then waited for.
            stack.callback(process.wait)
            stack.callback(process.kill)
            processes.append(process)
        codes = [process.wait(TIMEOUT_S) for process in processes]
    for rank, code in enumerate(codes):
        if code:
            raise SystemExit(Path(folder, f"said-{rank}").read_text())
    return seen(folder)


def simulated(
    case: Case, learners: int, steps: int, folder: Path, mbit_per_s: float, gradient_s: float
) -> Seen:
    """Simulate on a description of the hosts."""
    cluster = (
        f'cluster={{file = "desk", servers = {learners // case.per_host}, '
        f"gpus_per_server = {case.per_host}, nic_bytes_per_s = {mbit_per_s * 1e6 / 8 * PAYLOAD}, "
        f"device = {{profiles = {{gradient = [[{BATCH}, {gradient_s}]]}}}}}}"
    )
    command = [sys.executable, "-m", "dualrt", "simulate", SCENARIO, "--json"]
    timing = ["--set", cluster, "--set", "simulation.numerics=false", "--out", str(folder)]
    done = subprocess.run(
        [*command, *words(case, learners, steps), *timing],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return seen(folder)


def measured(
    links: Sequence[float], number: int, steps: int, names: Sequence[str], tcp: str
) -> Any:
    """All figures, with a progress bar."""
    rows: list[dict[str, Any]] = []
    gradients_s: list[float] = []
    with tempfile.TemporaryDirectory() as scratch:
        for link in links:
            folder = Path(scratch, f"{link:g}")
            with switched(number, link, tcp) as hosts:
                alone = trained(hosts, CASES["ssgd"], 1, steps, folder / "alone")
                gradients_s.append(alone.gradient_s)
                for name in track(names, f"{link:g} Mb/s", console=Console(stderr=True)):
                    case = CASES[name]
                    learners = number * case.per_host
                    real = trained(hosts, case, learners, steps, folder / name / "real")
                    told = simulated(
                        case, learners, steps, folder / name / "told", link, alone.gradient_s
                    )
                    rows.append(
                        {
                            "case": name,
                            "mbit_per_s": link,
                            "learners": learners,
                            "steps_per_s": {
                                "real": real.steps_per_s,
                                "predicted": told.steps_per_s,
                            },
                            "error": told.steps_per_s / real.steps_per_s - 1,
                            "staleness": {"real": real.staleness, "predicted": told.staleness},
                        }
                    )
    errors = [row["error"] for row in rows]
    return {
        "tcp": tcp,
        "gradient_s": fmean(gradients_s),
        "cases": rows,
        "rms_error": math.sqrt(fmean(math.log1p(error) ** 2 for error in errors)),
        "worst_error": max(errors, key=abs),
        "load": os.getloadavg()[0],
    }


def table(figures: Any) -> RenderableType:
    """A row a case."""
    made = Table(
        "case", "Mb/s", "of", "steps/s", "told", "error", "stale", "told",
        title="Predicted and real, between hosts",
        caption=f"of: learners; told: by the simulator; TCP: {figures['tcp']}; a gradient alone "
        f"{1e3 * figures['gradient_s']:.1f} ms; root mean square {figures['rms_error']:.1%}, "
        f"worst {figures['worst_error']:+.1%}; load {figures['load']:.1f}",
    )  # fmt: skip
    for column in made.columns[1:]:
        column.justify = "right"
    for row in figures["cases"]:
        rate, staleness = row["steps_per_s"], row["staleness"]
        made.add_row(
            row["case"],
            f"{row['mbit_per_s']:g}",
            str(row["learners"]),
            f"{rate['real']:.1f}",
            f"{rate['predicted']:.1f}",
            f"{row['error']:+.1%}",
            f"{staleness['real']:.2f}",
            f"{staleness['predicted']:.2f}",
        )
    return made


def main() -> None:
    """Measure and print."""
    parser = options(__doc__ or "", KEYS)
    parser.add_argument("--mbit", default="200,400", help="what the links carry, in Mb/s")
    parser.add_argument("--hosts", type=int, default=4)
    parser.add_argument("--tcp", default=TCP, metavar="NAME", help="the hosts' congestion control")
    parser.add_argument("--steps", type=int, default=60, help="of a learner, in each run")
    parser.add_argument("--cases", nargs="+", default=[*CASES], choices=CASES, metavar="CASE",
                        help="; ".join(CASES))  # fmt: skip
    chosen = parser.parse_args()
    if not can_be_made(switched(1, 1000.0, chosen.tcp)):
        parser.error(
            "hosts are network namespaces: needs root, iproute2, and of the kernel tbf and the "
            f"congestion control {chosen.tcp!r}"
        )
    links = [float(link) for link in chosen.mbit.split(",")]
    figures = measured(links, chosen.hosts, chosen.steps, chosen.cases, chosen.tcp)
    tell(figures, table, as_json=chosen.json)


if __name__ == "__main__":
    main()
