"""Failures: how a process that fails ends the run of all others.

Owns the message, which can be sent whatever the failure's text is, and the strand that heeds it.
Must not know who else is there.
"""

from __future__ import annotations

from dualrt.core.effects import Packet, Recv
from dualrt.core.errors import RunError

FAILURE = "failure"
"""The tag under which a process that fails tells the others why, in a note."""

MOST_BYTES = 4096
"""Of what is told, which is for people."""


def message(why: str) -> Packet:
    """What tells it, cut to what can be sent, and with escapes for what is no character."""
    text = why.encode(errors="backslashreplace")
    if len(text) > MOST_BYTES:
        kept = text[:MOST_BYTES].decode(errors="ignore")
        return Packet(note=f"{kept} ... (cut: {len(text)} bytes in all)")
    return Packet(note=text.decode())


class FailedElsewhereError(RunError):
    """Learner `peer` has failed, and said so."""

    def __init__(self, peer: int, why: str) -> None:
        self.peer = peer
        super().__init__(f"learner {peer} failed, and the run ended: {why}")


async def heed() -> None:
    """What every learner does beside its strands: end when another one fails."""
    failed, told = await Recv(FAILURE)
    raise FailedElsewhereError(failed, told.note)
