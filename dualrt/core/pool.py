"""A pool of memory for model-sized buffers, each used again once nobody reads it any more.

Owns the buffers. Must not know what is kept in them, nor a library of tensors: a buffer is handed
out as an object of the buffer protocol, and comes back by itself when the last view of it is gone.

Fresh memory is dear: the kernel clears each page when it is first touched. A copy of 165 MB into
fresh memory took 72 ms of processor time where a copy into memory used before took 26 ms
(benchmarks/gossip.py says what that is of an exchange).
"""

from __future__ import annotations

import ctypes
import mmap
import threading
import weakref
from collections import deque
from typing import TypeAlias

Loan: TypeAlias = "ctypes.Array[ctypes.c_ubyte]"
"""A buffer on loan: writable, and returned when it and all views of it are gone."""

SMALLEST_BYTES = 1 << 20
"""Smaller buffers are left to malloc, which has them at hand."""


class Pool:
    """Buffers by size. Any thread may take; at most `spare` of a size wait to be used again."""

    def __init__(self, spare: int) -> None:
        self._spare = spare
        self._lock = threading.Lock()
        self._free: dict[int, deque[mmap.mmap]] = {}

    def take(self, nbytes: int) -> Loan:
        """A buffer of `nbytes` with anything in it.

        Its memory serves again when no view is left, so whoever keeps one keeps the buffer.
        """
        kind = ctypes.c_ubyte * nbytes
        if nbytes < SMALLEST_BYTES:
            return kind()
        with self._lock:
            free = self._free.get(nbytes)
            memory = free.pop() if free else None
        if memory is None:
            memory = mmap.mmap(-1, nbytes)
        loan = kind.from_buffer(memory)
        weakref.finalize(loan, self._give_back, memory, nbytes).atexit = False
        return loan

    def _give_back(self, memory: mmap.mmap, nbytes: int) -> None:
        # No close(): the loan still exports the memory until it is gone, which is just about now.
        with self._lock:
            free = self._free.setdefault(nbytes, deque())
            if len(free) < self._spare:
                free.append(memory)
