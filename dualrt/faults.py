"""Faults in code, for `dualrt.api.simulate(scenario, faults=[...])` and, crashes, `api.train`.

Owns the short ways to write them; what they mean is `dualrt.core.faults`, whose classes are here
too. In a scenario they stand in the table `[faults]`.

    from dualrt import api, faults, scenario

    run = scenario.load("digits-adpsgd")
    api.simulate(run, faults=[faults.fail_at(learner=3, step=100)])
"""

from __future__ import annotations

import math

from dualrt.core.faults import Crash, Fault, Partition, SlowCard, SlowPair, Toll, Weather

__all__ = [
    "Crash",
    "Fault",
    "Partition",
    "SlowCard",
    "SlowPair",
    "Toll",
    "Weather",
    "cut_off",
    "fail_at",
]


def fail_at(learner: int, step: int, *, rejoin_after_s: float | None = None) -> Crash:
    """`learner` crashes as it begins its step number `step`, counted from 0.

    With `rejoin_after_s` it comes back that much later, knowing nothing; in the simulator, or where
    a scenario says so of real processes.
    """
    return Crash(learner, at_step=step, rejoin_after_s=rejoin_after_s)


def cut_off(*learners: int, start_s: float, end_s: float = math.inf) -> Partition:
    """Nobody else can reach `learners` from `start_s` to `end_s`; they reach each other."""
    return Partition(frozenset(learners), start_s, end_s)
