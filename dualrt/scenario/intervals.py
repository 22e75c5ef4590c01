"""Intervals: how often something is done, in steps or in time, as a scenario writes it.

Owns the reading of "100 steps" and "10 min". Must not know what is done.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_SECONDS = {"s": 1.0, "min": 60.0, "h": 3600.0}


class Interval(NamedTuple):
    """One of the two is None."""

    steps: int | None
    seconds_s: float | None


def interval(text: str) -> Interval:
    """Read one. Raises ValueError, which says how to write it."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?(steps?|s|min|h)", text)
    if found:
        amount, unit = found.groups()
        if unit in _SECONDS and float(amount) > 0:
            return Interval(None, float(amount) * _SECONDS[unit])
        if unit not in _SECONDS and amount.isdecimal() and int(amount):
            return Interval(int(amount), None)
    raise ValueError("is no interval: write a number of steps, s, min or h, as in '100 steps'")
