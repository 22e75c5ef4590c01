"""Simulated runs in which things go wrong, in a line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dualrt.core.faults import Detection, Fault, Toll
from dualrt.core.learner import Learner
from dualrt.sim.faults import Adversity, FaultySimulator
from tests.support.exact import ExactWorkload
from tests.support.runs import Case
from tests.support.simulated import Log

DETECTION = Detection(detect_s=2e-3, timeout_s=40e-3)
"""Two gradients, and forty, on the machines of `tests.support.simulated`."""


@dataclass
class Troubled:
    """What a run came to."""

    learners: dict[int, Learner]
    """Those that are up, by rank."""
    everyone: list[Learner]
    """All that there ever were, the dead included."""
    log: Log
    toll: Toll


def troubled(
    case: Case,
    *faults: Fault,
    updates: int = 200,
    detection: Detection = DETECTION,
    **workload: Any,
) -> Troubled:
    """Run a case to an agreed end of so many updates, and let faults befall it."""
    exact = ExactWorkload(learners=case.learners, samples_per_epoch=updates, **workload)
    team: Sequence[Learner] = case.cast(exact)
    everyone = list(team)

    def restart(rank: int, incarnation: int) -> Learner:
        again = case.cast(exact, incarnation=incarnation)[rank]
        everyone.append(again)
        return again

    log = Log()
    simulator = FaultySimulator(team, case.where(), log, Adversity(faults, detection, restart))
    log.elapsed_s = simulator.run()
    return Troubled(dict(simulator.present), everyone, log, simulator.toll)
