"""Memory: that the C library keeps what one step has freed for the next.

Owns the settings of its allocator. Must not know who allocates.

glibc gives memory back to the kernel when much of it is free at the end of a heap, as it is after
each gradient, and has it cleared anew, page by page, in the next. Heaps of other threads than the
first are the worst: where the strand that trains takes gradients of 0.7 M parameters, 500 to 750
pages a step, 3 % of its time (docs/benchmarks.md#training-beside-peers).
"""

from __future__ import annotations

import ctypes
import os

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""Their names in malloc.h."""

NEVER = -1
"""A heap does not shrink."""

LARGEST_IN_HEAPS_BYTES = 32 * 1024 * 1024
"""What is larger gets pages of its own, which go back with it: glibc takes no larger bound."""

SETTINGS = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")
"""Environment variables by which somebody else has decided on it."""


def keep_what_is_freed() -> bool:
    """For all of this process, from now on; returns whether it was set.

    Not where the environment says otherwise, nor with another C library or allocator.
    """
    if any(name in os.environ for name in SETTINGS):
        return False
    try:
        # That of the process, whichever it is; musl has none, and macOS.
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    # The second first: until one of both is set, glibc moves both by itself.
    bounds = ((_M_MMAP_THRESHOLD, LARGEST_IN_HEAPS_BYTES), (_M_TRIM_THRESHOLD, NEVER))
    return all(mallopt(name, bound) == 1 for name, bound in bounds)
