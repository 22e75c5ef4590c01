"""The agreed end: everyone ends, nobody waits for one that has, and few updates are too many.

A learner stops once the updates that it knows of make the target. What it knows of a learner at
distance d is at most d * (P + 1) of that learner's steps old: an edge is used every P rounds of
whoever initiates (P is the plan's period), and a hop takes its turn in the step after. With D the
diameter, and as all but the last step are taken below the target,

    total < target + n * (D * (P + 1) + 1)        (n learners of one speed)

A straggler hands on little. On a ring, knowledge goes the other way around: D becomes n - 2.
"""

from __future__ import annotations

from typing import Any

import networkx as nx
import pytest

from dualrt import topology
from dualrt.algorithms.adpsgd import ADPSGD
from dualrt.algorithms.asgd import ASGD
from dualrt.algorithms.delay_by_one import DelayByOne
from dualrt.algorithms.hierarchical import HierarchicalADPSGD
from dualrt.algorithms.local_sgd import LocalSGD
from dualrt.algorithms.sdpsgd import SDPSGD
from dualrt.algorithms.ssgd import SSGD
from dualrt.core.learner import Learner
from tests.support.exact import ExactWorkload
from tests.support.runs import Case
from tests.support.simulated import Log, simulate
from tests.support.stage import train
from tests.support.written import Written

TARGET = 200


def run(case: Case, updates: int = TARGET) -> tuple[list[Learner], Log]:
    """A run whose agreed end is so many updates."""
    batches = case.algorithm.layout(case.learners, **case.settings).batches_per_update
    workload = ExactWorkload(learners=case.learners, samples_per_epoch=updates * batches)
    team = case.cast(workload)
    return team, simulate(team, case.where())


def bound(vertices: int, graph: str, mixing: str, diameter: int | None = None) -> int:
    """The most updates, by the estimate above."""
    built = topology.build(graph, vertices)
    period = topology.plan(mixing, built).period
    assert period is not None
    hops = nx.diameter(built) if diameter is None else diameter
    return TARGET + vertices * (hops * (period + 1) + 1)


@pytest.mark.parametrize("mixing", ["pairwise", "neighbours"])
@pytest.mark.parametrize(
    ("learners", "graph"),
    [
        (1, "ring"),
        (2, "path"),
        (3, "ring"),
        (7, "ring"),
        (16, "ring"),
        (8, "star"),
        (9, "complete"),
        (9, "torus"),
    ],
)
@pytest.mark.parametrize("step_cv", [0.0, 0.3])
def test_adpsgd_ends_within_what_knowledge_of_others_lags(
    learners: int, graph: str, mixing: str, step_cv: float
) -> None:
    machine = {"step_cv": step_cv}
    _, log = run(Case(ADPSGD, learners, graph=graph, mixing=mixing, machine=machine))
    assert TARGET <= len(log.updates) < bound(learners, graph, mixing)


def test_a_learner_alone_ends_exactly_there() -> None:
    _, log = run(Case(ADPSGD, 1))
    assert len(log.updates) == TARGET


@pytest.mark.parametrize("learners", [7, 8])
@pytest.mark.parametrize("straggler", [0, 1])
@pytest.mark.parametrize("mixing", ["pairwise", "neighbours"])
def test_a_straggler_ends_with_the_others(learners: int, straggler: int, mixing: str) -> None:
    case = Case(ADPSGD, learners, mixing=mixing, machine={"slow": {straggler: 10.0}})
    _, log = run(case)
    total = len(log.updates)
    assert TARGET <= total < bound(learners, "ring", mixing, diameter=learners - 2)
    # The pool is shared: what the straggler does not do, the others did.
    others = (total - log.steps(straggler)) / (learners - 1)
    assert log.steps(straggler) < 0.2 * others
    # It hears of the end in the step that it is at, of 10 ms, and takes no other.
    ends = [_last_update_s(log, rank) for rank in range(learners)]
    assert ends.pop(straggler) - max(ends) < 11e-3


def _last_update_s(log: Log, learner: int) -> float:
    return max(time_s for time_s, update in log.updates if update.learner == learner)


@pytest.mark.parametrize(
    ("learners", "size"), [(8, 1), (8, 2), (8, 4), (8, 8), (9, 3), (6, 2), (2, 1)]
)
@pytest.mark.parametrize("slow", [{}, {0: 10.0}, {1: 10.0}])
def test_groups_end_whole(learners: int, size: int, slow: dict[int, float]) -> None:
    case = Case(
        HierarchicalADPSGD,
        learners,
        {"learners_per_group": size},
        machine={"slow": slow, "gpus_per_server": size},
    )
    team, log = run(case)
    groups = learners // size
    lag = groups - 2 if slow and groups > 2 else None
    assert TARGET <= len(log.updates) < bound(groups, "ring", "pairwise", lag) + groups
    # Followers gave as many gradients as their leader took.
    for rank, learner in enumerate(team):
        assert learner.draws == team[rank - rank % size].draws


@pytest.mark.parametrize(
    ("algorithm", "settings"),
    [(SSGD, {}), (SDPSGD, {}), (DelayByOne, {}), (LocalSGD, {"period": 7})],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
@pytest.mark.parametrize("learners", [1, 2, 3, 7])
def test_lock_step_learners_all_end_at_the_same_step(
    algorithm: type[Learner], settings: dict[str, Any], learners: int
) -> None:
    case = Case(algorithm, learners, settings, machine={"step_cv": 1.0, "slow": {0: 10.0}})
    team, log = run(case)
    steps = -(-TARGET // learners)
    assert [learner.step for learner in team] == [steps] * learners
    assert len(log.updates) == steps * learners


@pytest.mark.parametrize("learners", [1, 2, 7])
@pytest.mark.parametrize("slow", [{}, {0: 10.0}, {1: 10.0}])
def test_a_server_applies_exactly_the_agreed_updates(learners: int, slow: dict[int, float]) -> None:
    machine = {"step_cv": 0.5, "slow": {rank: f for rank, f in slow.items() if rank < learners}}
    _, log = run(Case(ASGD, learners, machine=machine))
    assert len(log.updates) == TARGET


@pytest.mark.parametrize("learners", [1, 2, 5, 64])
def test_a_target_below_one_step_each_still_ends(learners: int) -> None:
    for algorithm, graph in ((ADPSGD, "ring"), (SSGD, "ring"), (ASGD, "ring")):
        _, log = run(Case(algorithm, learners, graph=graph), updates=1)
        assert 1 <= len(log.updates) <= 2 * learners


@pytest.mark.parametrize(("learners", "graph"), [(1, "ring"), (3, "ring"), (4, "star")])
def test_real_threads_all_end(learners: int, graph: str) -> None:
    for algorithm in (ADPSGD, SDPSGD, ASGD):
        workload = ExactWorkload(learners=learners, samples_per_epoch=8 * learners, form=Written())
        log = train(Case(algorithm, learners, graph=graph).cast(workload))
        assert len(log.updates) >= 8 * learners
