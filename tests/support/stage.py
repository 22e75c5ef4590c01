"""Stages for one script: the simulator, and real learners as threads of this process.

A script is the strands of each learner. All stages run it to the end and show the same log, so a
test of behaviour is written once. On one of them vectors are as if on a GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import replace
from typing import TypeAlias

import torch

from dualrt.core.effects import Body
from dualrt.core.learner import Layout, Learner, Seat, Strand
from dualrt.core.order import Witness
from dualrt.core.progress import Constant, Progress
from dualrt.real.attempts import Keeping
from dualrt.real.driver import RealDriver, StoppedError
from dualrt.real.gossip import Gossip
from dualrt.real.lanes import HostLane, Lanes
from dualrt.workloads.quadratic import Quadratic
from tests.support.simulated import Log, machine, simulate

PATIENCE_S = 30.0
"""Bound of every wait of a real run: met by failures only."""

MAX_BODY_BYTES = 4_000_000

CPU = torch.device("cpu")

Script: TypeAlias = Sequence[Sequence[Strand]]
Stage: TypeAlias = Callable[[Script], Log]


class Actor(Learner):
    """A learner whose strands are handed in."""

    def __init__(self, seat: Seat, strands: Sequence[Strand]) -> None:
        super().__init__(seat)
        self._strands = strands

    def strands(self) -> Sequence[Strand]:
        return self._strands

    def play(self, *strands: Strand) -> None:
        """Have these instead: strands that know their learner come after it."""
        self._strands = strands


def main(body: Callable[[], Body[None]], name: str = "main") -> Strand:
    return Strand(name, body)


def daemon(body: Callable[[], Body[None]], name: str = "daemon") -> Strand:
    return Strand(name, body, daemon=True)


def actors(script: Script) -> list[Actor]:
    learners = len(script)
    workload = Quadratic(seed=0, learners=learners, batch=1, dimension=4)
    progress = Progress(1.0, samples_per_epoch=10, samples_per_update=1, schedule=Constant(0.1))
    return [
        Actor(
            Seat(
                rank=rank,
                learners=learners,
                weights=workload.weights(rank),
                workload=workload,
                progress=progress,
                layout=Layout(replicas=tuple(range(learners))),
                mixing=None,
            ),
            strands,
        )
        for rank, strands in enumerate(script)
    ]


def in_simulation(script: Script) -> Log:
    """Run a script in virtual time."""
    return simulate(actors(script), machine(len(script)))


def in_threads(script: Script, timeout_s: float = PATIENCE_S) -> Log:
    """Run a script for real: each learner has its own transport and driver, on the loopback."""
    return train(actors(script), timeout_s)


class ApartLane(HostLane):
    """Of a device whose memory is taken for one apart, so that bodies are brought down and up."""

    apart = True


def on_devices(script: Script) -> Log:
    """Run a script in threads, on the path that vectors take which are on a GPU."""
    return train(actors(script), lanes=lambda: Lanes(lambda urgent: ApartLane()))


STAGES: dict[str, Stage] = {
    "simulated": in_simulation,
    "threads": in_threads,
    "devices": on_devices,
}


def train(
    learners: Sequence[Learner],
    timeout_s: float = PATIENCE_S,
    lanes: Callable[[], Lanes | None] = lambda: None,
    device: torch.device = CPU,
    *,
    log: Log | None = None,
    keeping: Keeping | None = None,
    witness: Callable[[int], Witness | None] = lambda _: None,
    meet: Callable[[Sequence[RealDriver]], object] = lambda _: None,
) -> Log:
    """Run learners for real to their end; raises the error that ended the run first.

    With `keeping` each keeps its state as it says, and `witness` keeps the order of a rank;
    `meet` is shown the drivers before they run.
    """
    log = Log() if log is None else log
    with ExitStack() as open_:
        gossips = [
            open_.enter_context(
                Gossip(
                    learner.rank,
                    run_id="run",
                    timeout_s=timeout_s,
                    max_body_bytes=MAX_BODY_BYTES,
                )
            )
            for learner in learners
        ]
        addresses = {gossip.rank: gossip.address for gossip in gossips}
        for gossip in gossips:
            gossip.connect(addresses)
        drivers = [
            RealDriver(
                learner,
                gossip,
                None,
                log,
                timeout_s=timeout_s,
                device=device,
                lanes=lanes(),
                keeping=None if keeping is None else _for_rank(keeping, learner.rank),
                witness=witness(learner.rank),
            )
            for learner, gossip in zip(learners, gossips, strict=True)
        ]
        meet(drivers)
        log.elapsed_s = max(_run_all(drivers))
    return log


def _for_rank(keeping: Keeping, rank: int) -> Keeping:
    return replace(keeping, checkpoints=keeping.checkpoints.of(rank))


def _run_all(drivers: Sequence[RealDriver]) -> list[float]:
    with ThreadPoolExecutor(len(drivers)) as pool:
        runs: list[Future[float]] = [pool.submit(driver.run) for driver in drivers]
        over, _ = wait(runs, return_when=FIRST_EXCEPTION)
        if any(run.exception() for run in over):
            # What a launcher does for processes.
            for driver in drivers:
                driver.stop()
    errors = [error for run in runs if (error := run.exception()) is not None]
    for error in errors:
        if not isinstance(error, StoppedError):
            raise error
    return [run.result() for run in runs]
