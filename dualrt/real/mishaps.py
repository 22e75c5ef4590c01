"""Mishaps: what a scenario asks to go wrong with the learner of this process.

Owns when it is slow, and its crash. Must not know what it computes.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Sequence

from dualrt.core.faults import Crash, Slowdown, slowness


class Mishaps:
    """Those of one learner."""

    def __init__(self, slowdowns: Sequence[Slowdown], crash: Crash | None) -> None:
        self._slowdowns, self._crash = slowdowns, crash

    def begin(self, began_ago_s: float) -> None:
        """The run began so long ago: have the process crash when it is time."""
        crash = self._crash
        if crash is not None and crash.at_s is not None:
            timer = threading.Timer(crash.at_s - began_ago_s, _die)
            timer.daemon = True
            timer.start()

    def at_step(self, draws: int) -> None:
        """The learner has drawn so many mini-batches, and goes on: unless it is to crash there."""
        crash = self._crash
        if crash is not None and crash.at_step is not None and crash.at_step < draws:
            _die()

    def slow_at(self, start_s: float) -> bool:
        """Whether a computation that begins then is to last longer than it takes."""
        return slowness(self._slowdowns, start_s) > 1

    def lag_s(self, start_s: float, took_s: float) -> float:
        """How much longer a computation lasts than it took; 0 on a device that is not slow."""
        return max(0.0, slowness(self._slowdowns, start_s) - 1) * took_s


def _die() -> None:
    """As if the machine had failed: nothing is closed, and nobody is told."""
    os.kill(os.getpid(), signal.SIGKILL)
