"""The clock: SimPy's environment, with calls at instants that are known exactly.

Owns virtual time and the order of what happens in it, as `simpy.Environment` does. Must not know
what is called.

SimPy takes delays, and `now + (then - now)` need not be `then`. Here the instant itself is given,
so that a time comes out to the bit however it was found. A `Call` is half the price of a `Timeout`,
which carries a delay, a value and the means to fail.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappush
from typing import Any

import simpy
from simpy.events import NORMAL


class Call:
    """What SimPy's loop needs of an event, and `what` it is about."""

    __slots__ = ("callbacks", "what")

    _ok = True

    def __init__(self, then: Callable[[Call], None], what: Any) -> None:
        self.callbacks = [then]
        self.what = what


class Clock(simpy.Environment):
    """Virtual time from 0, in seconds."""

    def at(self, time_s: float, then: Callable[[Call], None], what: Any = None) -> None:
        """Call `then` with a `Call` about `what` at an instant that is not past."""
        # The queue is typed for events, of which its loop asks no more than a call has.
        heappush(self._queue, (time_s, NORMAL, next(self._eid), Call(then, what)))  # type: ignore[misc]
