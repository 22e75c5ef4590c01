"""The gate: where every thread of a real run waits.

Owns waiting: each wait has a bound, and all end at once when the gate is closed. Must not know what
is waited for.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from types import TracebackType

from dualrt.core.errors import RunError

SLOW_SHARE = 0.25
"""Of the time that a wait may take: after that, whoever waits may say so."""


class ClosedError(RunError):
    """What was waited for cannot come any more: the transport was closed."""


class Gate:
    """A lock around shared state (`with gate:`) and the waits for that state to change."""

    def __init__(self) -> None:
        self._changed = threading.Condition(threading.Lock())
        self._closed: BaseException | None = None

    def __enter__(self) -> None:
        self._changed.acquire()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._changed.release()

    def announce(self) -> None:
        """The state changed; held by the caller."""
        self._changed.notify_all()

    def check(self) -> None:
        """Raise what the gate was closed with, if it was; held by the caller."""
        if self._closed is not None:
            raise self._closed

    def wait(
        self,
        until: Callable[[], bool],
        timeout_s: float,
        slow: Callable[[float], None] | None = None,
    ) -> bool:
        """Wait, held by the caller, for `until()`; returns whether it became true in time.

        Raises what the gate was closed with, at once. `math.inf` waits until then. If it takes
        longer than a quarter of the time that is bounded, `slow` is told how long, while nobody
        holds the gate.
        """

        def over() -> bool:
            return self._closed is not None or until()

        if slow is not None and timeout_s < math.inf:
            first_s = SLOW_SHARE * timeout_s
            if not self._changed.wait_for(over, first_s):
                timeout_s -= first_s
                self._changed.release()
                try:
                    slow(first_s)
                finally:
                    self._changed.acquire()
        # A lock refuses longer waits than TIMEOUT_MAX (292 years).
        kept = self._changed.wait_for(over, min(timeout_s, threading.TIMEOUT_MAX))
        self.check()
        return kept

    def close(self, error: BaseException | None = None) -> None:
        """End every wait, now and later, with `error` or `ClosedError`. The first close counts."""
        with self:
            if self._closed is None:
                self._closed = error or ClosedError("the transport was closed")
            self.announce()
