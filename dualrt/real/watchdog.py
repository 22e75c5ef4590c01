"""Watchdog: the ways in which a process of a real run must end whatever else it does.

Owns signals, the death of the launcher, and the last resort. Must not know what the process does.
"""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType

GRACE_S = 1.5
"""How long a clean end may take after a signal: a call that hangs in a library cannot be ended."""

POLL_S = 0.5
"""How often the launcher is looked for."""


def interrupt_on_signals() -> None:
    """Turn SIGTERM and SIGINT into KeyboardInterrupt, with a bound on what comes after."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _interrupt)


def end_with(parent: int) -> None:
    """End this process when `parent`, which started it, is gone."""
    threading.Thread(target=_watch, args=(parent,), name="watchdog", daemon=True).start()


def _interrupt(number: int, _: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)
    last_resort = threading.Timer(GRACE_S, os._exit, args=(128 + number,))
    last_resort.daemon = True
    last_resort.start()
    raise KeyboardInterrupt


def _watch(parent: int) -> None:
    tick = threading.Event()
    while os.getppid() == parent:
        tick.wait(POLL_S)
    os._exit(1)
