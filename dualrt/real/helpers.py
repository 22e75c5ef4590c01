"""Helpers: threads that run parts of strands beside them, each used again when its part is over.

Owns the threads. Must not know what a part does. To start a thread takes longer than many a
message, and AD-PSGD needs one in every step.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable


class Helpers:
    """As many threads as parts are under way at once; `close` ends those that are idle.

    All are daemons: a computation that never returns must not keep the process alive.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[_Helper] = []
        self.threads: list[threading.Thread] = []
        """All that were started, for who waits until they have ended."""
        self._open = True

    def start(self, part: Callable[[], None]) -> Callable[[], None]:
        """Run `part`, which must not raise, on a thread; returns what waits for its end."""
        with self._lock:
            helper = self._idle.pop() if self._idle else self._another()
        return helper.run(part)

    def close(self) -> None:
        """Have each thread end: at once, or after the part that it runs."""
        with self._lock:
            self._open = False
            idle, self._idle = self._idle, []
        for helper in idle:
            helper.dismiss()

    def _another(self) -> _Helper:
        helper = _Helper(self._back)
        self.threads.append(helper.thread)
        return helper

    def _back(self, helper: _Helper) -> None:
        with self._lock:
            if self._open:
                self._idle.append(helper)
                return
        helper.dismiss()


class _Helper:
    """One thread, and what it is to run next."""

    def __init__(self, back: Callable[[_Helper], None]) -> None:
        self._back = back
        self._parts: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self.thread = threading.Thread(target=self._serve, name="helper", daemon=True)
        self.thread.start()

    def run(self, part: Callable[[], None]) -> Callable[[], None]:
        # Held until the part is over: cheaper than an event, and nobody but the asker waits.
        under_way = threading.Lock()
        under_way.acquire()

        def work() -> None:
            part()
            # Idle before the asker goes on, who may ask for the next at once.
            self._back(self)
            under_way.release()

        self._parts.put(work)

        def wait() -> None:
            under_way.acquire()

        return wait

    def dismiss(self) -> None:
        self._parts.put(None)

    def _serve(self) -> None:
        while (work := self._parts.get()) is not None:
            work()
            # What it refers to, weights perhaps, would be kept until there is more to do.
            del work
