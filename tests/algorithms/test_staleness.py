"""How stale gradients are: the figures that each algorithm's file states."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import mean
from typing import Any

import pytest

from dualrt.algorithms.adpsgd import ADPSGD
from dualrt.algorithms.asgd import ASGD
from dualrt.algorithms.delay_by_one import DelayByOne
from dualrt.algorithms.hierarchical import HierarchicalADPSGD
from dualrt.algorithms.local_sgd import LocalSGD
from dualrt.algorithms.sdpsgd import SDPSGD
from dualrt.algorithms.ssgd import SSGD
from dualrt.core.learner import Learner
from dualrt.core.records import Update
from tests.support.exact import ExactWorkload
from tests.support.runs import Case
from tests.support.simulated import simulate

JITTERY: dict[str, Any] = {"step_cv": 1.0, "slow": {1: 10.0}}
CALM: dict[str, Any] = {}


def updates(
    algorithm: type[Learner],
    learners: int,
    settings: Mapping[str, int] | None = None,
    *,
    steps: int = 20,
    **machine: Any,
) -> list[Update]:
    """All updates of a run of so many steps a learner, in the order of their times."""
    case = Case(algorithm, learners, settings or {}, mixing="neighbours", machine=machine)
    workload = ExactWorkload(learners=learners, samples_per_epoch=steps * learners)
    return [update for _, update in simulate(case.cast(workload), case.where()).updates]


def staleness_of(updates: list[Update]) -> set[int]:
    return {update.staleness for update in updates}


@pytest.mark.parametrize("learners", [1, 4])
def test_ssgd_is_never_stale(learners: int) -> None:
    told = updates(SSGD, learners, **(JITTERY if learners > 1 else CALM))
    assert staleness_of(told) == {0}
    assert {update.missed for update in told} == {0}


@pytest.mark.parametrize("learners", [1, 4])
def test_local_sgd_is_never_stale(learners: int) -> None:
    told = updates(LocalSGD, learners, {"period": 3}, **(JITTERY if learners > 1 else CALM))
    assert staleness_of(told) == {0}


@pytest.mark.parametrize("algorithm", [DelayByOne, SDPSGD], ids=lambda cls: cls.__name__)
def test_an_average_beside_the_gradient_makes_it_one_step_stale(algorithm: type[Learner]) -> None:
    told = updates(algorithm, 4, **JITTERY)
    # At the first step there is no update yet that a gradient could miss.
    assert staleness_of([update for update in told if update.step == 1]) == {0}
    assert staleness_of([update for update in told if update.step > 1]) == {1}


def test_delay_by_one_misses_exactly_one_update_of_every_other() -> None:
    told = updates(DelayByOne, 4, **JITTERY)
    assert {update.missed for update in told if update.step > 1} == {3}


@pytest.mark.parametrize(
    "algorithm", [DelayByOne, SDPSGD, ADPSGD, ASGD], ids=lambda cls: cls.__name__
)
def test_a_learner_alone_is_never_stale(algorithm: type[Learner]) -> None:
    assert staleness_of(updates(algorithm, 1)) == {0}


@pytest.mark.parametrize("learners", [2, 4, 8])
def test_at_a_parameter_server_staleness_is_about_the_number_of_others(learners: int) -> None:
    told = updates(ASGD, learners, steps=100, step_cv=0.1)
    assert mean(update.staleness for update in told) == pytest.approx(learners - 1, rel=0.05)


def test_a_slow_learner_of_a_parameter_server_is_as_stale_as_it_is_slow() -> None:
    told = updates(ASGD, 4, steps=100, slow={1: 10.0})
    # During one gradient of it the three others compute ten each, and the server, which trains as
    # well, applies what fits between its own.
    assert 20 <= max(update.staleness for update in told) <= 31


@pytest.mark.parametrize("size", [1, 2, 4])
def test_within_a_group_nothing_is_stale(size: int) -> None:
    told = updates(HierarchicalADPSGD, size, {"learners_per_group": size}, step_cv=1.0)
    assert staleness_of(told) == {0}


def test_between_groups_of_one_speed_staleness_is_that_of_as_many_learners() -> None:
    # Jitter is left out: a group's step is its slowest learner's, which would be slower.
    groups = updates(HierarchicalADPSGD, 8, {"learners_per_group": 2}, steps=100)
    alone = updates(ADPSGD, 4, steps=100)
    assert mean(update.staleness for update in groups) == pytest.approx(
        mean(update.staleness for update in alone), rel=0.05
    )


def test_with_partners_by_turns_staleness_is_as_many_rounds_as_since_they_met() -> None:
    # On an even ring a learner meets its left neighbour, then its right one, then the left again.
    case = Case(SDPSGD, 8, mixing="pairwise", machine={"step_cv": 1.0})
    log = simulate(case.cast(ExactWorkload(learners=8, samples_per_epoch=160)), case.where())
    assert staleness_of([update for _, update in log.updates if update.step > 2]) == {2}


def test_adpsgd_misses_few_updates_of_others() -> None:
    told = updates(ADPSGD, 8, steps=100, step_cv=0.1)
    assert 0 < mean(update.staleness for update in told) <= 2
    assert max(update.staleness for update in told) <= 6


def test_a_straggler_s_gradients_are_as_stale_as_it_is_slow() -> None:
    case = Case(ADPSGD, 8, machine={"slow": {3: 10.0}})
    log = simulate(case.cast(ExactWorkload(learners=8, samples_per_epoch=1600)), case.where())
    by_it = [update.staleness for _, update in log.updates if update.learner == 3]
    by_others = [update.staleness for _, update in log.updates if update.learner != 3]
    assert mean(by_it) == pytest.approx(10, abs=2)
    assert mean(by_others) <= 3
