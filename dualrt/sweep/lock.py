"""Lock: one process at a time, as long as it works on a file.

Owns the lock, a file beside that one, which goes away with it; of a process that was killed it
stays, and holds up nobody. Must not know what is done with the file.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_HELD = (errno.EWOULDBLOCK, errno.EACCES)
_NONE_HERE = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)
"""What a file system says that has no locks."""


class HeldError(Exception):
    """Another process holds the lock."""


@contextmanager
def alone(file: Path) -> Iterator[bool]:
    """Hold the lock of `file` for as long as the context lasts; whether there is one to hold.

    Raises HeldError at once where another holds it, OSError where no file can be beside that one.
    """
    beside = file.with_name(f"{file.name}.lock")
    lock, locked = _acquired(beside)
    try:
        yield locked
    finally:
        # While it is held, so that nobody else's is taken away.
        beside.unlink(missing_ok=True)
        os.close(lock)


def _acquired(beside: Path) -> tuple[int, bool]:
    """The lock's descriptor, and whether it is locked."""
    while True:
        lock = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            locked = _locked(lock)
            if not locked or _is(lock, beside):
                return lock, locked
        except BaseException:
            os.close(lock)
            raise
        # Its last holder took it away after we had opened it: whoever comes now makes another.
        os.close(lock)


def _locked(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _HELD:
            raise HeldError from error
        if error.errno in _NONE_HERE:
            return False
        raise
    return True


def _is(lock: int, beside: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(lock), beside.stat())
    except FileNotFoundError:
        return False
