"""Faults that a scenario can ask for, in either mode.

Owns their meaning. Must not know how a driver makes them happen: the simulator stretches modelled
times, the real runtime waits after a computation.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Slowdown:
    """A straggler: computations that start in [start_s, end_s) take `factor` times as long."""

    factor: float
    start_s: float = 0.0
    end_s: float = math.inf


def slowness(slowdowns: Iterable[Slowdown], now_s: float) -> float:
    """How many times as long a computation takes that starts now; factors multiply."""
    factor = 1.0
    for slowdown in slowdowns:
        if slowdown.start_s <= now_s < slowdown.end_s:
            factor *= slowdown.factor
    return factor
