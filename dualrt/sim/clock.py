"""The clock: SimPy's environment, with calls at instants that are known exactly.

Owns virtual time and the order of what happens in it, as `simpy.Environment` does: by time, then by
priority, then first come, first served. Must not know what is called.

SimPy takes delays, and `now + (then - now)` need not be `then`. Here the instant itself is given,
so that a time comes out to the bit however it was found.

What is to happen is kept as a function and its argument. So a call needs no event, which in SimPy
has a list of callbacks, a value and the means to fail, and costs four times as much. SimPy's own
events are calls of `_happen`, and its processes run on this clock as on any other.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from itertools import repeat
from typing import Any, TypeVar

import simpy
from simpy.core import EmptySchedule
from simpy.events import NORMAL, EventPriority

LAST = EventPriority(2)
"""Behind SimPy's URGENT (0) and NORMAL (1): after everything else of the same instant."""

T = TypeVar("T")


class Clock(simpy.Environment):
    """Virtual time from 0, in seconds."""

    now: float = 0.0
    """The instant; an attribute, as it is asked for several times an event."""

    def __init__(self) -> None:
        super().__init__()
        self._calls: list[tuple[float, int, int, Callable[[Any], None], Any]] = []
        # `simpy.Environment.peek` looks into it too, at the times alone.
        self._queue: Any = self._calls
        self._halted = False

    def at(self, time_s: float, then: Callable[[T], None], what: T) -> None:
        """Call `then` with `what` at an instant that is not past."""
        heappush(self._calls, (time_s, NORMAL, next(self._eid), then, what))

    def at_last(self, then: Callable[[T], None], what: T) -> None:
        """Call `then` with `what` when everything else of this instant has happened."""
        heappush(self._calls, (self.now, LAST, next(self._eid), then, what))

    def schedule(
        self, event: simpy.Event, priority: EventPriority = NORMAL, delay: float = 0
    ) -> None:
        """As SimPy's."""
        heappush(self._calls, (self.now + delay, priority, next(self._eid), _happen, event))

    def step(self) -> None:
        """As SimPy's: raises EmptySchedule where nothing is to come."""
        self.go(1)

    def go(self, steps: int) -> None:
        """As many times `step`, or until `halt` is called."""
        calls = self._calls
        self._halted = False
        for _ in repeat(None, steps):
            if not calls:
                raise EmptySchedule
            self.now, _, _, then, what = heappop(calls)
            then(what)
            if self._halted:
                return

    def halt(self) -> None:
        """Let `go` return when the call under way has."""
        self._halted = True


def _happen(event: simpy.Event) -> None:
    callbacks, event.callbacks = event.callbacks, None  # type: ignore[assignment]  # as SimPy does
    for callback in callbacks:
        callback(event)
    if not event._ok and not hasattr(event, "_defused"):
        raise event._value
