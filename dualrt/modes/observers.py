"""Observers: who is told the records of a run, and the files and ports that they hold open.

Owns which observers there are for what was asked, and that all of them are closed. Must not know
who makes records.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Self

from dualrt.core.records import ChorusRow, Lane, Observer, Row, Span, Update
from dualrt.observe.digest import TimingDigest
from dualrt.observe.fan import fan
from dualrt.observe.meter import Meter, OneByOne
from dualrt.observe.metrics import Complain, Target, Watched
from dualrt.observe.recorder import SECONDS_PER_FLUSH, Recorder
from dualrt.observe.steady import Steadiness
from dualrt.observe.tally import Tally
from dualrt.scenario import Scenario

if TYPE_CHECKING:
    from dualrt.real.rendezvous import Launch

OnProgress = Callable[[float], None]
"""Told the share of the run that is done, from 0 to 1, now and then as updates are applied."""


class Watch:
    """The observers of a run, and the files and ports that they may hold open."""

    def __init__(
        self,
        scenario: Scenario,
        epochs: float,
        out: Path | None,
        on_progress: OnProgress | None,
        launch: Launch | None = None,
        steadiness: Steadiness | None = None,
        observer: Observer | None = None,
        metrics: Sequence[Target] = (),
    ) -> None:
        self.tally = Tally(scenario.learners)
        self.digest = TimingDigest()
        self.meter = Meter(scenario.learners, [launch.rank] if launch else range(scenario.learners))
        self.complaints: list[str] = []
        """Why a simulation's figures were shown no more."""
        rank, incarnation = (launch.rank, launch.incarnation) if launch else (0, 0)
        # Somebody may be watching a real run, and it may be killed.
        interval_s = math.inf if launch is None else SECONDS_PER_FLUSH
        listening: list[Observer] = [self.tally, self.digest]
        with ExitStack() as opened:
            if out is not None:
                recorder = Recorder(
                    out, rank=rank, incarnation=incarnation, seconds_per_flush=interval_s
                )
                listening.append(opened.enter_context(recorder))
            if metrics:
                name = scenario.algorithm.name
                listening += shown(metrics, opened, self.meter, name, launch, self.complaints)
            if observer is not None:
                listening.append(observer)
            if on_progress is not None:
                listening.append(_Progress(epochs, on_progress))
            if steadiness is not None:
                listening.append(steadiness)
            self.observer = fan(*listening)
            self._opened = opened.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()


def shown(
    metrics: Sequence[Target],
    opened: ExitStack,
    meter: Meter,
    algorithm: str,
    launch: Launch | None,
    complaints: list[str],
) -> list[Observer]:
    """Open all that is to show a meter's figures; who is told records for its sake.

    `launch` is the process's of a real run, and None for a simulation, of which `complaints` say
    why figures are shown no more.
    """
    if launch is None:
        watched = Watched(algorithm, None, 0, lambda time_s: time_s, 0.0)
        complain: Complain = complaints.append
    else:
        from dualrt.real.events import Events

        rank = launch.rank
        events = Events(rank, launch.incarnation)
        watched = Watched(
            algorithm, rank, launch.local_rank, lambda _: time.time(), SECONDS_PER_FLUSH
        )
        complain = partial(events.warning, "metrics_stopped")
    told: list[Observer] = [meter]
    for target in metrics:
        exporter = target.open(meter, watched, complain)
        opened.callback(exporter.close)
        if exporter.observer is not None:
            told.append(exporter.observer)
        if launch is not None:
            said = f"learner {rank} shows its figures at {exporter.where}"
            events.info("metrics", said, where=exporter.where)
    return told if launch else [OneByOne(one) for one in told]


class _Progress:
    """Tells how far the run is, from what updates say of the epoch."""

    def __init__(self, epochs: float, tell: OnProgress) -> None:
        self._epochs, self._tell = epochs, tell

    def span(self, span: Span) -> None:
        """Nothing: a run's course is counted in updates."""

    def update(self, time_s: float, update: Update) -> None:
        """Tell the share of all epochs."""
        self._tell(min(update.epoch / self._epochs, 1.0))

    def bulk_spans(self, lane: Lane, rows: Sequence[Row]) -> None:
        """Nothing, as for one."""

    def chorus_spans(self, lanes: Sequence[Lane], rows: Sequence[ChorusRow]) -> None:
        """Nothing, as for one."""

    def bulk_updates(self, applied: Sequence[tuple[float, Update]]) -> None:
        """Tell what the last says."""
        if applied:
            self.update(*applied[-1])
