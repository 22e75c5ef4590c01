"""Fan: one observer that is several.

Owns the passing on of records, in a fixed order. Must not know what listeners do.
"""

from __future__ import annotations

from dualrt.core.records import Observer, Span, Update


class Observers:
    """Passes every record on to each of `observers`, in the order given.

    Fans inside a fan are flattened, so a record crosses one loop however observers were put
    together.
    """

    __slots__ = ("_spans", "_updates", "members")

    def __init__(self, *observers: Observer) -> None:
        flat: list[Observer] = []
        for observer in observers:
            flat.extend(observer.members if isinstance(observer, Observers) else (observer,))
        self.members: tuple[Observer, ...] = tuple(flat)
        # Bound once: a driver calls these up to a hundred thousand times a second.
        self._spans = tuple(member.span for member in flat)
        self._updates = tuple(member.update for member in flat)

    def span(self, span: Span) -> None:
        """Pass an effect on."""
        for listen in self._spans:
            listen(span)

    def update(self, time_s: float, update: Update) -> None:
        """Pass an update on."""
        for listen in self._updates:
            listen(time_s, update)
