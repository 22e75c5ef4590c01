"""The gate: where every thread of a real run waits.

Owns waiting: each wait has a bound, and all end at once when the gate is closed. Must not know what
is waited for.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import TypeAlias

from dualrt.core.errors import RunError

SLOW_SHARE = 0.25
"""Of the time that a wait may take: after that, whoever waits may say so."""


Bell: TypeAlias = threading.Condition
"""Where threads wait for a change that concerns no others. Made by `Gate.bell`."""


class ClosedError(RunError):
    """What was waited for cannot come any more: the transport was closed."""


class Gate:
    """A lock around shared state (`with gate:`) and the waits for that state to change."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._changed = self.bell()
        self._apart: list[Bell] = []
        """Bells at which somebody waits."""
        self._closed: BaseException | None = None

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def bell(self) -> Bell:
        """A place to wait at where others' changes wake nobody.

        A thread that is woken for nothing takes the interpreter's lock from one that has something
        to do: with a learner's daemons waiting for messages, at each message of any other strand.
        """
        return threading.Condition(self._lock)

    def announce(self, bell: Bell | None = None) -> None:
        """The state changed, for those at this bell, or who wait at none; held by the caller."""
        (bell or self._changed).notify_all()

    def check(self) -> None:
        """Raise what the gate was closed with, if it was; held by the caller."""
        if self._closed is not None:
            # The same error ends waits of many threads: each would leave its frames in it.
            raise self._closed.with_traceback(None)

    def wait(
        self,
        until: Callable[[], bool],
        timeout_s: float,
        slow: Callable[[float], None] | None = None,
        bell: Bell | None = None,
    ) -> bool:
        """Wait, held by the caller, for `until()`; returns whether it became true in time.

        It is looked at when `bell` is announced; without one, when no bell in particular is.
        Raises what the gate was closed with, at once. `math.inf` waits until then. If it takes
        longer than a quarter of the time that is bounded, `slow` is told how long, while nobody
        holds the gate.
        """

        def over() -> bool:
            return self._closed is not None or until()

        if bell is None:
            kept = self._wait(self._changed, over, timeout_s, slow)
        else:
            self._apart.append(bell)
            try:
                kept = self._wait(bell, over, timeout_s, slow)
            finally:
                self._apart.remove(bell)
        self.check()
        return kept

    def _wait(
        self,
        bell: Bell,
        over: Callable[[], bool],
        timeout_s: float,
        slow: Callable[[float], None] | None,
    ) -> bool:
        if slow is not None and timeout_s < math.inf:
            first_s = SLOW_SHARE * timeout_s
            if bell.wait_for(over, first_s):
                return True
            timeout_s -= first_s
            self._lock.release()
            try:
                slow(first_s)
            finally:
                self._lock.acquire()
        # A lock refuses longer waits than TIMEOUT_MAX (292 years).
        return bell.wait_for(over, min(timeout_s, threading.TIMEOUT_MAX))

    def close(self, error: BaseException | None = None) -> None:
        """End every wait, now and later, with `error` or `ClosedError`. The first close counts."""
        with self:
            if self._closed is None:
                self._closed = error or ClosedError("the transport was closed")
            for bell in (self._changed, *self._apart):
                self.announce(bell)
