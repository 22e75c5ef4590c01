"""Calls: how any thread asks the courier's thread for something.

Owns the queue of calls and the bell that wakes the thread out of its poll. Must not know what is
called.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable


class Calls:
    """A queue of calls, filled by any thread and emptied by one.

    The bell is a plain OS socket pair, because a ZeroMQ socket must not be used from two threads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: list[Callable[[], None]] = []
        self._open = True
        self._bell, self._ear = socket.socketpair()

    def fileno(self) -> int:
        """What to poll for input."""
        return self._ear.fileno()

    def post(self, call: Callable[[], None]) -> None:
        """Ask for a call. Does nothing once the queue is closed: the thread has ended."""
        with self._lock:
            if not self._open:
                return
            self._calls.append(call)
            # One ring wakes for all calls there are, and so the pair can never fill up.
            if len(self._calls) == 1:
                self._bell.send(b"\0")

    def run(self) -> None:
        """Make the calls that were asked for, in order. Only when the bell was heard."""
        with self._lock:
            self._ear.recv(1)
            calls, self._calls = self._calls, []
        for call in calls:
            call()

    def close(self) -> None:
        """Take no more calls; those not yet made are dropped."""
        with self._lock:
            self._open = False
            self._calls.clear()
            self._bell.close()
            self._ear.close()
