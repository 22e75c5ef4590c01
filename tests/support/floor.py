"""Floor: which tests run beside others when several processes share the suite.

Owns two locks of the operating system; whoever ends, however, gives them back. They are on files
that every checkout has and that nobody writes: two runs of one checkout heed each other too.

A test that is alone waits until all others have ended, and none begins before it has. As long as
the next test of its process is alone too, the floor stays its own: giving it back between the two
would let the others go first each time.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


class Floor:
    """What the tests of one process hold of it; `file` and its folder are what is locked."""

    def __init__(self, file: Path = Path(__file__)) -> None:
        self._floor = os.open(file, os.O_RDONLY)
        # Held by who waits: locks are not fair, and a floor that is shared would stay so for ever.
        self._turn = os.open(file.parent, os.O_RDONLY)
        self._alone: bool | None = None

    def take(self, *, alone: bool) -> None:
        """Wait until tests of this kind may run."""
        if self._alone == alone:
            return
        self.leave()
        fcntl.flock(self._turn, fcntl.LOCK_EX)
        fcntl.flock(self._floor, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(self._turn, fcntl.LOCK_UN)
        self._alone = alone

    def leave(self) -> None:
        """Let others on it."""
        fcntl.flock(self._floor, fcntl.LOCK_UN)
        self._alone = None
