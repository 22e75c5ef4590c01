"""Fibers: threads of which one runs at a time, until it pauses.

Owns who runs. Must not know what for.

A strand has to wait in the midst of its own code, where it comes to its weights before its turn,
and a coroutine can only wait where it awaits. Hence the threads. As one hands over to the next by
itself, nothing between two pauses needs a lock, the order is the same each time, and a debugger
sees one story.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import cast


class _Ended(BaseException):
    """Ends a fiber where it has paused; no error, as GeneratorExit is none."""


class Fiber:
    """Something that runs in parts."""

    def __init__(self, fibers: Fibers, run: Callable[[], None], drop: Callable[[], None]) -> None:
        self._fibers, self._run, self._drop = fibers, run, drop
        self._go = threading.Semaphore(0)
        self._thread: threading.Thread | None = None
        self.woken = False
        """Whether it is to run when those before it have paused."""

    def resume(self) -> None:
        """Let it run until it pauses or has returned."""
        self.woken = False
        if self._thread is None:
            # A Python daemon: an interrupt must not wait for a computation.
            self._thread = threading.Thread(target=self._all, daemon=True)
            self._thread.start()
        else:
            self._go.release()
        self._fibers.baton.acquire()

    def pause(self) -> None:
        """From within: wait to be woken."""
        if not self._fibers.ending:
            self._fibers.baton.release()
            self._go.acquire()
        if self._fibers.ending:
            raise _Ended

    def _all(self) -> None:
        try:
            if self._fibers.ending:
                self._drop()
            else:
                self._run()
        except _Ended:
            pass
        except BaseException as error:
            self._fibers.fail(error)
        finally:
            self._fibers.over(self)
            self._fibers.baton.release()


class Fibers:
    """All of them; use `run` once."""

    def __init__(self) -> None:
        self.baton = threading.Semaphore(0)
        """Handed back by the fiber that runs."""
        self.ending = False
        self._ready: deque[Fiber] = deque()
        self._begun: dict[Fiber, None] = {}
        self._running: Fiber | None = None
        self._error: BaseException | None = None

    @property
    def running(self) -> Fiber:
        """The one that asks."""
        return cast(Fiber, self._running)

    def start(self, run: Callable[[], None], drop: Callable[[], None] = lambda: None) -> None:
        """Have `run` begin when those before it have paused; or `drop`, if the end comes first."""
        fiber = Fiber(self, run, drop)
        self._begun[fiber] = None
        self.wake(fiber)

    def wake(self, fiber: Fiber) -> None:
        """Have it go on when those before it have paused, if it has not returned by then.

        It may find that it was woken early, or for what it waits for no more.
        """
        if not fiber.woken:
            fiber.woken = True
            self._ready.append(fiber)

    def pause(self) -> None:
        """Wait to be woken: the one that runs."""
        self.running.pause()

    def run(self) -> None:
        """Until none can go on, or one has asked for the end; raises what one of them raised.

        An interrupt leaves them as they are, to be gone with the process.
        """
        while self._ready and not self.ending:
            fiber = self._ready.popleft()
            if fiber in self._begun:
                self._running = fiber
                fiber.resume()
        self.ending = True
        for fiber in list(self._begun):
            self._running = fiber
            fiber.resume()
        if self._error is not None:
            raise self._error

    def end(self) -> None:
        """End all: nobody goes on who pauses from now on."""
        self.ending = True

    def fail(self, error: BaseException) -> None:
        """End all with the first error."""
        self._error = self._error or error
        self.ending = True

    def over_with(self, error: BaseException) -> BaseException:
        """End all with an error; returns what the one that runs is to raise, to leave at once."""
        self.fail(error)
        return _Ended()

    def over(self, fiber: Fiber) -> None:
        """It has returned."""
        del self._begun[fiber]
