"""One learner ten times slower: whom it slows, and whom not, by the clock of the simulator."""

from __future__ import annotations

import pytest

from dualrt.algorithms.adpsgd import ADPSGD
from dualrt.algorithms.delay_by_one import DelayByOne
from dualrt.algorithms.hierarchical import HierarchicalADPSGD
from dualrt.algorithms.local_sgd import LocalSGD
from dualrt.algorithms.sdpsgd import SDPSGD
from dualrt.algorithms.ssgd import SSGD
from dualrt.core.learner import Learner
from dualrt.workloads.phantom import Phantom
from tests.support.runs import Case
from tests.support.simulated import Log, simulate

LEARNERS, STRAGGLER, FACTOR = 8, 3, 10.0
GRADIENT_S = 10e-3
"""Of the others. All communication of a step takes less than a hundredth of that."""


def run(case: Case) -> Log:
    workload = Phantom(
        seed=0,
        learners=case.learners,
        batch=10,
        samples_per_epoch=10 * 200 * case.learners,
        parameters_bytes=10_000,
    )
    return simulate(case.cast(workload), case.where())


def rate(log: Log, learner: int) -> float:
    """Updates a second of one learner, between its first and its last."""
    times = [time_s for time_s, update in log.updates if update.learner == learner]
    return (len(times) - 1) / (times[-1] - times[0])


@pytest.mark.parametrize("mixing", ["pairwise", "neighbours", "random-ring"])
@pytest.mark.parametrize("step_cv", [0.0, 0.3])
def test_with_adpsgd_a_straggler_slows_nobody(mixing: str, step_cv: float) -> None:
    calm, slow = ({"step_cv": step_cv, "slow": {STRAGGLER: factor}} for factor in (1.0, FACTOR))
    without = run(Case(ADPSGD, LEARNERS, mixing=mixing, machine=calm))
    with_it = run(Case(ADPSGD, LEARNERS, mixing=mixing, machine=slow))
    for rank in range(LEARNERS):
        if rank != STRAGGLER:
            assert rate(with_it, rank) > 0.95 * rate(without, rank)
    assert rate(with_it, STRAGGLER) == pytest.approx(rate(without, STRAGGLER) / FACTOR, rel=0.1)


@pytest.mark.parametrize(
    "algorithm", [SSGD, SDPSGD, DelayByOne, LocalSGD], ids=lambda cls: cls.__name__
)
def test_in_lock_step_all_are_as_slow_as_the_straggler(algorithm: type[Learner]) -> None:
    log = run(Case(algorithm, LEARNERS, machine={"slow": {STRAGGLER: FACTOR}}))
    for rank in range(LEARNERS):
        pace = log.steps(rank) / log.elapsed_s
        assert pace == pytest.approx(1 / (FACTOR * GRADIENT_S), rel=0.01)


def test_with_groups_a_straggler_slows_its_own_group_only() -> None:
    groups = {"learners_per_group": 2}
    machine = {"gpus_per_server": 2, "slow": {STRAGGLER: FACTOR}}
    log = run(Case(HierarchicalADPSGD, LEARNERS, groups, machine=machine))
    for leader in (0, 4, 6):
        assert rate(log, leader) == pytest.approx(1 / GRADIENT_S, rel=0.05)
    assert rate(log, 2) == pytest.approx(1 / (FACTOR * GRADIENT_S), rel=0.05)
