"""The journal: what happened, on its way to the observer.

Owns how records are passed on. Must not know what they mean, nor a driver or a thread.

An observer that takes records in bulk gets them lane by lane, when the driver flushes; any other
gets each at once. A driver writes into a lane through a *pen*, which it keeps: so a span costs one
call and one tuple, and its lane is looked up no more. Learners in unison have one pen, whose rows
are expanded where they are used, or here for an observer that takes no choruses. What an observer
in bulk must know of at once (`HastyObserver`) it is told besides.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from dualrt.core.records import (
    BulkObserver,
    ChorusObserver,
    ChorusRow,
    HastyObserver,
    Lane,
    Observer,
    Row,
    Span,
    Update,
    solos,
)

Pen: TypeAlias = Callable[[Row], None]
"""Writes one span of a lane."""

ChorusPen: TypeAlias = Callable[[ChorusRow], None]
"""Writes one span into each of several lanes."""


class Pens(dict[str, Pen]):
    """The pens of a strand, by the kind of its spans: each is made when it is first asked for."""

    def __init__(self, journal: Journal, learner: int, strand: str) -> None:
        super().__init__()
        self._journal, self._learner, self._strand = journal, learner, strand

    def __missing__(self, kind: str) -> Pen:
        pen = self[kind] = self._journal.pen(Lane(self._learner, self._strand, kind))
        return pen


class Journal:
    """Passes records on to `observer`."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._bulk = observer if isinstance(observer, BulkObserver) else None
        self._heeds = tuple(observer.heeds) if isinstance(observer, HastyObserver) else ()
        self._chorus = observer if isinstance(observer, ChorusObserver) else None
        self._rows: dict[Lane, list[Row]] = {}
        self._choruses: list[tuple[Sequence[Lane], list[ChorusRow]]] = []
        self._updates: list[tuple[float, Update]] = []

    @property
    def in_bulk(self) -> bool:
        """Whether records are kept until they are flushed."""
        return self._bulk is not None

    @property
    def lanes(self) -> int:
        """How many there are in bulk so far."""
        return len(self._rows) + sum(len(lanes) for lanes, _ in self._choruses)

    def pen(self, lane: Lane) -> Pen:
        """What writes spans into `lane`."""
        if self._bulk is not None:
            return self._rows.setdefault(lane, []).append
        tell = self._observer.span

        def write(row: Row) -> None:
            start_s, end_s, size, peer, step = row
            tell(Span(*lane, start_s, end_s, size, peer, step))

        return write

    def chorus(self, lanes: Sequence[Lane]) -> ChorusPen:
        """What writes spans into all of `lanes`; only for records in bulk."""
        rows: list[ChorusRow] = []
        self._choruses.append((lanes, rows))
        return rows.append

    def update(self, time_s: float, update: Update) -> None:
        """Write an update."""
        if self._bulk is None:
            self._observer.update(time_s, update)
        else:
            self._updates.append((time_s, update))
            for heed in self._heeds:
                heed(time_s, update)

    def flush(self) -> None:
        """Pass on what has been kept."""
        if self._bulk is None:
            return
        for lane, rows in self._rows.items():
            if rows:
                self._bulk.bulk_spans(lane, rows)
                rows.clear()
        for lanes, chorus in self._choruses:
            if chorus and self._chorus is not None:
                self._chorus.chorus_spans(lanes, chorus)
            elif chorus:
                for lane, rows in solos(lanes, chorus):
                    self._bulk.bulk_spans(lane, rows)
            chorus.clear()
        self._bulk.bulk_updates(self._updates)
        self._updates.clear()
