"""Rounds: what a learner sends in one round begins when all of its earlier rounds has arrived.

Owns the order of one sender's messages to other servers (docs/decisions/0028-rounds-in-order.md).
Must not know links, time, or what a message is. Of one connection they are in order anyway. Real
runs have a round begin a little earlier: when what is left of the last is on its way.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

Way = TypeVar("Way")
"""A connection."""


class Rounds(Generic[Way]):
    """Of one sender. `begin` lets the first message of a connection go."""

    def __init__(self, begin: Callable[[Way], None]) -> None:
        self._begin = begin
        self._open: dict[int, int] = {}
        """Messages that were added and have not arrived, by round: of two or three."""
        self._waiting: list[tuple[int, Way]] = []
        """Connections whose first message waits, at most one entry each."""

    def add(self, round_: int) -> None:
        """There is a message of that round."""
        self._open[round_] = self._open.get(round_, 0) + 1

    def come(self, round_: int, way: Way) -> None:
        """It is the first of its connection now: it begins, or waits."""
        if round_ <= min(self._open):
            self._begin(way)
        else:
            self._waiting.append((round_, way))

    def over(self, round_: int) -> None:
        """A message of that round has arrived."""
        self.lose(round_)
        self.go_on()

    def lose(self, round_: int) -> None:
        """A message of that round never will arrive. Others may then `go_on`."""
        self._open[round_] -= 1
        if not self._open[round_]:
            del self._open[round_]

    def withdraw(self, way: Way) -> bool:
        """A connection is no more; returns whether its first message waited here."""
        before = len(self._waiting)
        self._waiting = [entry for entry in self._waiting if entry[1] is not way]
        return len(self._waiting) < before

    def go_on(self) -> None:
        """Begin those that need not wait any more."""
        if not self._waiting:
            return
        oldest = min(self._open)
        ready = [way for round_, way in self._waiting if round_ <= oldest]
        self._waiting = [entry for entry in self._waiting if entry[0] > oldest]
        for way in ready:
            self._begin(way)
