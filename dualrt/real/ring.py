"""The ring: memory through which a learner's bytes reach a peer on the same host.

Owns the memory, its slots, and what makes a ring that somebody offers acceptable. Must not know how
the two ends tell each other of it.

The sender creates the memory as a *memfd*: a file in no folder, gone when the last process that has
it is gone, however they end. The receiver opens it as /proc/PID/fd/FD and maps it read-only. It
trusts nothing that it was told: the file must be a memfd called as ours are, of exactly our size,
and its size must be sealed, so that reading cannot fault. It must begin with the nonce that the
sender said, so that it is the sender's: in another container the same PID and FD are somebody
else's.

Slots are filled in turn and numbered for ever; number n lies in slot n mod `SLOTS`. The receiver
frees them in the same order, so one count says which are free, and a count that is lost is made
good by the next.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import secrets
import sys
from pathlib import Path

from dualrt.core.errors import DualrtError
from dualrt.real.wire import CHUNK_BYTES, copy

SLOT_BYTES = CHUNK_BYTES
SLOTS = 8
"""8 MiB keep both ends busy and stay in the caches that cores share."""

NAME = "dualrt-ring"
"""What /proc shows of it."""

DESCRIPTORS_A_PEER = 3
"""Of our ring the file and its mapping, and the mapping of the peer's. Where none are left, bodies
go through sockets."""

NONCE_BYTES = 16
HEAD_BYTES = mmap.PAGESIZE
"""In front of the slots: the nonce, and nothing else."""

RING_BYTES = HEAD_BYTES + SLOTS * SLOT_BYTES


class RingError(DualrtError):
    """Memory that cannot be shared, or a slot that is none."""


class RingWriter:
    """The sender's end. Raises `RingError` where there is no such memory."""

    def __init__(self) -> None:
        self.nonce = secrets.token_bytes(NONCE_BYTES)
        self.pid = os.getpid()
        self.written = 0
        """Slots that were ever filled."""
        self._freed = 0
        if sys.platform != "linux":
            raise RingError("only Linux has memfd")
        try:
            self.fd = os.memfd_create(NAME, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        except OSError as error:
            raise RingError(f"no memory to share: {error}") from error
        try:
            os.truncate(self.fd, RING_BYTES)
            fcntl.fcntl(self.fd, fcntl.F_ADD_SEALS, _SEALS)
            self._memory = mmap.mmap(self.fd, RING_BYTES)
        except (OSError, ValueError) as error:
            os.close(self.fd)
            raise RingError(f"no memory to share: {error}") from error
        self._memory[:NONCE_BYTES] = self.nonce
        self._view = memoryview(self._memory)

    @property
    def full(self) -> bool:
        """Whether every slot waits to be read."""
        return self.written - self._freed == SLOTS

    def write(self, data: memoryview) -> int:
        """Copy at most `SLOT_BYTES` into the next slot, while not `full`; returns its number."""
        number = self.written
        start = _start(number)
        copy(self._view[start : start + len(data)], data)
        self.written += 1
        return number

    def free(self, count: int) -> None:
        """The reader says that it needs none of the first `count` slots any more."""
        # A count that was overtaken says nothing new, and nobody has read what was not written.
        self._freed = min(max(self._freed, count), self.written)

    def close(self) -> None:
        """Give up the memory; a reader that has it may read on."""
        self._view.release()
        self._memory.close()
        os.close(self.fd)


class RingReader:
    """The receiver's end of a ring that a process offers; its first `freed` slots are done with.

    Raises `RingError` for what is no ring, or not the one that was meant.
    """

    def __init__(self, pid: int, fd: int, nonce: bytes, freed: int) -> None:
        self.nonce = nonce
        self.freed = self._told = freed
        """The number of the oldest slot that may still be read."""
        self._memory = _map(f"/proc/{pid}/fd/{fd}")
        self._view = memoryview(self._memory)
        if len(nonce) != NONCE_BYTES or self._view[:NONCE_BYTES] != nonce:
            self.close()
            raise RingError("another's ring")

    def read(self, number: int, nbytes: int) -> memoryview:
        """The bytes of a slot, in place: of use until it is freed. Raises `RingError`."""
        if not self.freed <= number < self.freed + SLOTS or nbytes > SLOT_BYTES:
            raise RingError(f"{nbytes} bytes of slot {number}, where {self.freed} was due")
        start = _start(number)
        return self._view[start : start + nbytes]

    def free(self, count: int) -> bool:
        """Need none of the first `count` slots any more; returns whether to tell the sender."""
        self.freed = max(self.freed, count)
        if self.freed - self._told < SLOTS // 4:
            return False
        self._told = self.freed
        return True

    def close(self) -> None:
        """Give up the memory."""
        self._view.release()
        self._memory.close()


def _start(number: int) -> int:
    return HEAD_BYTES + number % SLOTS * SLOT_BYTES


def _map(path: str) -> mmap.mmap:
    """A stranger's memfd, or `RingError`."""
    if sys.platform != "linux":
        raise RingError("only Linux has memfd")
    try:
        # Its name is read without touching it: to open, or even to stat, what somebody else chose
        # could wait for ever, or ring a bell.
        if str(Path(path).readlink()) != f"/memfd:{NAME} (deleted)":
            raise RingError("no memfd of ours")
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            sealed = fcntl.fcntl(fd, fcntl.F_GET_SEALS) & _SEALS == _SEALS
            if not sealed or os.fstat(fd).st_size != RING_BYTES:
                raise RingError("no ring")
            return mmap.mmap(fd, RING_BYTES, prot=mmap.PROT_READ)
        finally:
            os.close(fd)
    except (OSError, ValueError, OverflowError) as error:
        raise RingError(f"no ring: {error}") from error


if sys.platform == "linux":
    _SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
