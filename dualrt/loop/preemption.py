"""Preemption: a SIGTERM asks for a last checkpoint, and the loop is told when it is there.

Owns what a loop is told, and while the signal asks. Must not know who keeps what.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import final

from dualrt.core.errors import PreemptedError
from dualrt.real import watchdog
from dualrt.real.events import Events


@final
class LoopPreemptedError(PreemptedError, SystemExit):
    """The processes were asked to end, and their states are in `kept`; or in None, and `why`.

    A loop that does not catch it ends as SIGTERM ends a process: with exit code 143, at once, and
    without a traceback, as nothing has failed.
    """

    def __init__(self, kept: str | None, why: str = "") -> None:
        super().__init__(kept, why)
        self.code = 128 + signal.SIGTERM


def told(rank: int, error: PreemptedError) -> LoopPreemptedError:
    """What the loop of process `rank` gets for it, and says."""
    Events(rank).warning("preempted", str(error), kept=error.kept, why=error.why)
    return LoopPreemptedError(error.kept, error.why)


def asked_by_sigterm(ask: Callable[[], None]) -> AbstractContextManager[None]:
    """Meanwhile the first SIGTERM calls `ask`, on a thread; a second does what it did before.

    Only the main thread may say what signals do; in another one nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        return nullcontext()
    return watchdog.first_asks(ask)
