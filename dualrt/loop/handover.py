"""Handover: how one thread gives something to another and waits to be given something back.

Owns places for one value. Must not know what is handed over.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Generic, TypeVar

from dualrt.real.gate import Gate

T = TypeVar("T")


class Handover(Generic[T]):
    """A place where one thread puts a value and another one takes it.

    Several may share a `gate`, whose closing ends all waits with its error.
    """

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._values: deque[T] = deque()

    def put(self, value: T) -> None:
        """Leave a value; returns at once."""
        with self._gate:
            self._values.append(value)
            self._gate.announce()

    def take(self) -> T:
        """Wait for a value. Raises what the gate was closed with.

        Without a bound: whoever computes may take any time, and whatever else is awaited is
        bounded there.
        """
        with self._gate:
            self._gate.wait(lambda: bool(self._values), math.inf)
            return self._values.popleft()
