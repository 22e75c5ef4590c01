"""Faults that a scenario can ask for, in either mode.

Owns their meaning. Must not know how a driver makes them happen: the simulator stretches modelled
times, the real runtime waits after a computation.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Slowdown:
    """A period in which a learner's device needs `factor` times as long; `end_s` may be inf.

    Where periods overlap their factors multiply. A factor below 1 is a faster device, which only
    the simulator can give.
    """

    start_s: float
    end_s: float
    factor: float


def slowness(slowdowns: Iterable[Slowdown], now_s: float) -> float:
    """The factor at an instant."""
    factor = 1.0
    for slowdown in slowdowns:
        if slowdown.start_s <= now_s < slowdown.end_s:
            factor *= slowdown.factor
    return factor
