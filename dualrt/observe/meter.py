"""Meter: the figures of a run while it goes on, for whoever watches it.

Owns what these figures are, and that they may be read while records come in. Must not know who
reads them, nor how they are shown. Off unless somebody asks: a run has no meter by default.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from dualrt.core.records import Lane, Observer, Row, Span, Update
from dualrt.observe.kinds import DEVICE, Activity
from dualrt.observe.tally import Tally


class Transport(NamedTuple):
    """What no record tells, but the transport of a real run knows."""

    lost_peers: int
    """Just now."""
    rejected: Mapping[str, int]
    """Frames that were dropped so far, by reason."""


class Reading(NamedTuple):
    """The figures of some learners, up to an instant. Counts are from the beginning."""

    time_s: float
    """When the last record ended, since the run began."""
    steps: int
    """Mini-batches whose gradient was computed."""
    updates: int
    samples: int
    """Samples of all updates."""
    epoch: float
    learning_rate: float
    """Both as of the last update, as its learner knew them."""
    loss: float | None
    """Training loss of the last mini-batch; None where nothing is computed."""
    staleness: tuple[tuple[int, int], ...]
    """(staleness, number of updates), ascending."""
    activity_s: Mapping[Activity, float]
    """Seconds by activity; those that overlap add up."""
    sent_bytes: int
    received_bytes: int
    goodput: float
    """Share of the time so far in which devices computed gradients or updates, from 0 to 1."""
    transport: Transport | None
    """None in a simulation."""


class Meter:
    """An observer that can be read at any moment, from any thread.

    `watched` are the learners whose records it is shown, of `learners` in the whole run.
    """

    def __init__(self, learners: int, watched: Sequence[int]) -> None:
        self._watched = tuple(watched)
        self._tally = Tally(learners)
        self._lock = threading.Lock()
        self._last: Update | None = None
        self._began_s: float | None = None
        """When the first record began: not at 0 of a learner that was started again."""
        self._transport: Callable[[], Transport] | None = None

    def attach(self, transport: Callable[[], Transport]) -> None:
        """Ask this, too, at each reading."""
        self._transport = transport

    def span(self, span: Span) -> None:
        """Take one effect."""
        self.bulk_spans(span.lane, (span.row,))

    def update(self, time_s: float, update: Update) -> None:
        """Take one update."""
        self.bulk_updates(((time_s, update),))

    def bulk_spans(self, lane: Lane, rows: Sequence[Row]) -> None:
        """Take effects of one lane."""
        with self._lock:
            first_s = min(row[0] for row in rows)
            self._began_s = first_s if self._began_s is None else min(self._began_s, first_s)
            self._tally.bulk_spans(lane, rows)

    def bulk_updates(self, applied: Sequence[tuple[float, Update]]) -> None:
        """Take updates."""
        if not applied:
            return
        with self._lock:
            self._last = applied[-1][1]
            self._tally.bulk_updates(applied)

    def read(self) -> Reading:
        """The figures as of now."""
        transport = self._transport() if self._transport is not None else None
        with self._lock:
            tally, last = self._tally, self._last
            seconds = dict.fromkeys(Activity, 0.0)
            for rank in self._watched:
                for doing, spent_s in tally.seconds_by_activity(rank).items():
                    seconds[doing] += spent_s
            whole_s = len(self._watched) * (tally.last_s - (self._began_s or 0.0))
            busy_s = sum(seconds[doing] for doing in DEVICE)
            return Reading(
                time_s=tally.last_s,
                steps=tally.steps,
                updates=tally.updates,
                samples=tally.samples,
                epoch=0.0 if last is None else last.epoch,
                learning_rate=0.0 if last is None else last.learning_rate,
                loss=None if last is None else last.loss,
                staleness=tuple(tally.staleness.counts()),
                activity_s=seconds,
                sent_bytes=tally.bytes_sent,
                received_bytes=tally.bytes_received,
                goodput=min(1.0, busy_s / whole_s) if whole_s > 0 else 0.0,
                transport=transport,
            )


class OneByOne:
    """An observer that has records passed on to another as they happen, and not in bulk.

    In bulk they come lane by lane, and in a simulation long after: a meter that is read meanwhile
    would show more of one lane than of the next.
    """

    def __init__(self, observer: Observer) -> None:
        self._observer = observer

    def span(self, span: Span) -> None:
        """Pass an effect on."""
        self._observer.span(span)

    def update(self, time_s: float, update: Update) -> None:
        """Pass an update on."""
        self._observer.update(time_s, update)
