"""Failures: how a process that fails ends the run of all others.

Owns the message, and the strand that heeds it. Must not know who else is there.
"""

from __future__ import annotations

from dualrt.core.effects import Recv
from dualrt.core.errors import RunError

FAILURE = "failure"
"""The tag under which a process that fails tells the others why, in a note."""


class FailedElsewhereError(RunError):
    """Learner `peer` has failed, and said so."""

    def __init__(self, peer: int, why: str) -> None:
        self.peer = peer
        super().__init__(f"learner {peer} failed, and the run ended: {why}")


async def heed() -> None:
    """What every learner does beside its strands: end when another one fails."""
    failed, told = await Recv(FAILURE)
    raise FailedElsewhereError(failed, told.note)
