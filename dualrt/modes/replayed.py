"""The replayed mode: a real run once more, from the order that was kept of it.

Owns the order of things, and the comparison with what the run came to. Must not know the simulator
or the real driver.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from dualrt.composition import Composition
from dualrt.core.errors import UsageError
from dualrt.core.records import Update
from dualrt.modes.observers import OnProgress
from dualrt.modes.outcome import MODEL, SCENARIO, keep_model
from dualrt.modes.threads import set_threads
from dualrt.observe.order import Order, read_orders
from dualrt.parting import Final, delivered
from dualrt.scenario import Scenario, load


class Point(NamedTuple):
    """An update of a learner: its n-th."""

    learner: int
    step: int


class Stop(NamedTuple):
    """Where a replay is to end: when a learner, or the first of any, has applied its n-th."""

    step: int
    learner: int | None = None


@dataclass(frozen=True, slots=True)
class Replayed:
    """One learner, as far as it came."""

    rank: int
    steps: int
    """Mini-batches that it drew."""
    updates: int
    """That it applied: none, where another does it for a group."""
    turns: int
    turns_kept: int
    same: bool | None
    """Whether its last weights are those of the run, to the bit; None where that cannot be said,
    as the run, or the replay, ended early."""
    lost: int | None
    """The peer whose loss ended what is known of it."""
    loss: float | None
    """Of its last mini-batch."""


@dataclass(frozen=True, slots=True)
class Replays:
    """What a replay comes to."""

    learners: tuple[Replayed, ...]
    not_finite: Point | None
    """The first update whose loss was not finite."""
    stopped: bool
    """Whether it ended where it was asked to."""
    largest_difference: float | None
    """Between any weight of the delivered model and that of the run; None where either is not
    there."""
    wall_s: float

    @property
    def same(self) -> bool | None:
        """Whether all weights are those of the run, to the bit."""
        said = [learner.same for learner in self.learners]
        return None if None in said else all(said)

    @property
    def whole(self) -> bool:
        """Whether every turn that was kept has been taken."""
        return all(learner.turns == learner.turns_kept for learner in self.learners)

    def to_json(self) -> str:
        """One JSON object."""
        told = msgspec.to_builtins(self)
        return msgspec.json.encode({"same": self.same, "whole": self.whole, **told}).decode()


def replay(
    folder: Path,
    *,
    until: Stop | None = None,
    model: Path | None = None,
    on_progress: OnProgress | None = None,
) -> Replays:
    """Run again what `folder` has the order of, as far as it is known, or `until`.

    The mean of the replicas' weights where it ends is written to `model`. Raises UsageError for a
    folder that is none, and for a learner that is not in the run, StrandError where a learner
    raises, DivergedError if one does not do what it did.
    """
    began_s = time.perf_counter()
    orders = read_orders(folder)
    scenario = _scenario(folder, Path(orders[0].header.folder))
    if until is not None and until.learner is not None and until.learner >= len(orders):
        raise UsageError(f"there is no learner {until.learner} in {folder}, of {len(orders)}")
    from dualrt.replay.driver import Replay

    composition = Composition(
        scenario, scenario.training.epochs, orders[0].header.learners_per_node
    )
    workload = composition.workload()
    set_threads(scenario)
    learners = [composition.learner(order.header.rank, workload) for order in orders]
    ledger = _Ledger(until, composition.epochs, on_progress)
    run = Replay(
        learners,
        [order.turns for order in orders],
        ledger.write,
        timeout_s=scenario.real.timeout_s,
    )
    ledger.stop = run.stop
    run.run()
    if not ledger.stopped and all(order.weights is not None for order in orders):
        run.check_over()
    finals = [learner.weights.snapshot().vector for learner in learners]
    replicas = [Final.of(learners[rank]) for rank in composition.layout.replicas]
    mean, _ = delivered(workload, replicas)
    if model is not None:
        keep_model(mean, model)
    return Replays(
        tuple(
            Replayed(
                rank,
                learners[rank].draws,
                ledger.updates.get(rank, 0),
                given.taken,
                len(order.turns),
                _same(order, workload.digest(final).hex()) if rank in run.ended else None,
                order.lost,
                ledger.losses.get(rank),
            )
            for rank, (order, given, final) in enumerate(
                zip(orders, run.given, finals, strict=True)
            )
        ),
        ledger.not_finite,
        ledger.stopped,
        _difference(mean, folder / MODEL) if len(run.ended) == len(learners) else None,
        time.perf_counter() - began_s,
    )


class _Ledger:
    """What learners report, and the end that was asked for."""

    def __init__(self, until: Stop | None, epochs: float, on_progress: OnProgress | None) -> None:
        self._until, self._epochs, self._on_progress = until, epochs, on_progress
        self.updates: dict[int, int] = {}
        self.losses: dict[int, float | None] = {}
        self.not_finite: Point | None = None
        self.stopped = False
        self.stop: Any = None

    def write(self, update: Update) -> None:
        """Take note of one."""
        rank, step, loss = update.learner, update.step, update.loss
        self.updates[rank], self.losses[rank] = step, loss
        if self.not_finite is None and loss is not None and not math.isfinite(loss):
            self.not_finite = Point(rank, step)
        if self._on_progress is not None:
            self._on_progress(min(update.epoch / self._epochs, 1.0))
        until = self._until
        if until is not None and step >= until.step and until.learner in (None, rank):
            self.stopped = True
            self.stop()


def _scenario(folder: Path, was: Path) -> Scenario:
    """The scenario in `folder`, with what it names relative to `was`, if that is still there."""
    file = folder / SCENARIO
    if not file.is_file():
        raise UsageError(f"{file} is missing: the scenario that the run was of. Bring it along")
    return load(str(file), beside=was if was.is_dir() else None)


def _same(order: Order, weights: str) -> bool | None:
    return None if order.weights is None else order.weights == weights


def _difference(mean: Any, file: Path) -> float | None:
    """The largest of any entry."""
    if not file.is_file():
        return None
    from safetensors.torch import load_file

    return float((load_file(file)["weights"] - mean.cpu()).abs().max())
