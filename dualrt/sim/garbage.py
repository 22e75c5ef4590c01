"""Garbage: how often Python looks for cycles while a simulation runs.

Owns that setting, which is the interpreter's, for the time of a run. Must not know what runs.

A step allocates a hundred small objects and leaves no cycle behind, while every look at all objects
there are finds the whole simulation alive: at 1,024 learners that took a third of the time, at 64 a
sixth. Rarely, and not never, because a workload of somebody's own may leave cycles.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

THRESHOLDS = (100_000, 20, 100)
"""For `gc.set_threshold`; Python's own are (700, 10, 10)."""


@contextmanager
def collected_rarely() -> Iterator[None]:
    """Inside, cycles are looked for after so many more objects."""
    before = gc.get_threshold()
    gc.set_threshold(*map(max, THRESHOLDS, before))
    try:
        yield
    finally:
        gc.set_threshold(*before)
