"""Fan: one observer that is several.

Owns the passing on of records, in a fixed order. Must not know what listeners do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeGuard

from dualrt.core.records import (
    BulkObserver,
    ChorusObserver,
    ChorusRow,
    HastyObserver,
    Heed,
    Lane,
    Observer,
    Row,
    Span,
    Update,
    solos,
)


class Observers:
    """Passes every record on to each of `observers`, in the order given.

    Fans inside a fan are flattened, so a record crosses one loop however observers were put
    together.
    """

    __slots__ = ("members",)

    def __init__(self, *observers: Observer) -> None:
        self.members: tuple[Observer, ...] = _flat(observers)

    def span(self, span: Span) -> None:
        """Pass an effect on."""
        for member in self.members:
            member.span(span)

    def update(self, time_s: float, update: Update) -> None:
        """Pass an update on."""
        for member in self.members:
            member.update(time_s, update)


class BulkObservers(Observers):
    """The same for observers who all take records in bulk, and so it does itself."""

    __slots__ = ("_bulk", "heeds")

    def __init__(self, *observers: BulkObserver) -> None:
        super().__init__(*observers)
        self._bulk = observers
        self.heeds: tuple[Heed, ...] = tuple(
            heed
            for member in observers
            if isinstance(member, HastyObserver)
            for heed in member.heeds
        )
        """As of a `HastyObserver`, for the members that are."""

    def bulk_spans(self, lane: Lane, rows: Sequence[Row]) -> None:
        """Pass effects of one lane on."""
        for member in self._bulk:
            member.bulk_spans(lane, rows)

    def chorus_spans(self, lanes: Sequence[Lane], rows: Sequence[ChorusRow]) -> None:
        """Pass effects of many lanes on."""
        for member in self._bulk:
            if isinstance(member, ChorusObserver):
                member.chorus_spans(lanes, rows)
            else:
                for lane, alone in solos(lanes, rows):
                    member.bulk_spans(lane, alone)

    def bulk_updates(self, applied: Sequence[tuple[float, Update]]) -> None:
        """Pass updates on."""
        for member in self._bulk:
            member.bulk_updates(applied)


def fan(*observers: Observer) -> Observers:
    """One observer that is all of these, and takes records in bulk if each of them does."""
    members = _flat(observers)
    return BulkObservers(*members) if _all_bulk(members) else Observers(*members)


def _flat(observers: Sequence[Observer]) -> tuple[Observer, ...]:
    flat: list[Observer] = []
    for observer in observers:
        flat.extend(observer.members if isinstance(observer, Observers) else (observer,))
    return tuple(flat)


def _all_bulk(observers: tuple[Observer, ...]) -> TypeGuard[tuple[BulkObserver, ...]]:
    return all(isinstance(observer, BulkObserver) for observer in observers)
