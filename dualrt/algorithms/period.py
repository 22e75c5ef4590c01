"""Period: every how many steps learners average.

Owns what such a setting may be, for all algorithms that have one. Must not know an algorithm.
"""

from __future__ import annotations

from dualrt.core.errors import UsageError


def check_period(period: int) -> None:
    """Raise UsageError unless it is at least 1."""
    if period < 1:
        raise UsageError(f"period = {period}: learners average every so many steps; at least 1")
