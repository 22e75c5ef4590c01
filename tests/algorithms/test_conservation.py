"""The sum over replicas is that of the starts and of all applied gradients: exactly, always.

Weights are Fractions, so nothing hides behind a tolerance. A share like 1/3 is a float, of which
both ends of an exchange take the same exact value.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dualrt.algorithms.adpsgd import ADPSGD
from dualrt.algorithms.sdpsgd import SDPSGD
from dualrt.core.learner import Learner
from tests.support.cases import cases
from tests.support.exact import ExactWeights, ExactWorkload, imbalance
from tests.support.runs import Case
from tests.support.simulated import simulate
from tests.support.stage import train
from tests.support.weather import DELAYS, weather
from tests.support.written import Written


@settings(max_examples=150)
@given(cases(), st.sampled_from(["none", *DELAYS]))
def test_the_sum_is_conserved_whatever_the_algorithm_graph_plan_and_delays(
    case: Case, delay: str
) -> None:
    learners = case.cast(ExactWorkload(learners=case.learners, samples_per_epoch=60))
    with weather(DELAYS.get(delay, lambda _: 0.0), case.seed):
        log = simulate(learners, case.where())
    assert imbalance(learners) == 0
    # It was reached, and not by doing nothing.
    assert sum(update.samples for _, update in log.updates) >= 60


@pytest.mark.parametrize("graph", ["ring", "complete", "star"])
def test_averaging_with_the_current_weights_loses_what_landed_meanwhile(graph: str) -> None:
    # Otherwise the property above would hold for lack of a chance to fail.
    assert _imbalance_of_naive_averaging(graph, step_cv=1.0) != 0


def test_delays_without_jitter_hide_that_loss() -> None:
    # On a ring in lock-step the losses cancel around it, so calm machines prove nothing.
    assert _imbalance_of_naive_averaging("ring", step_cv=0.0) == 0


def _imbalance_of_naive_averaging(graph: str, step_cv: float) -> Fraction:
    on = {"step_cv": step_cv, "nic_bytes_per_s": 1e9}
    case = Case(ADPSGD, 8, graph=graph, mixing="neighbours", machine=on)
    learners = case.cast(ExactWorkload(learners=8, samples_per_epoch=200, weights=_NaiveWeights))
    simulate(learners, case.where())
    return imbalance(learners)


class _NaiveWeights(ExactWeights):
    """What systems do that average a peer's weights with their current ones."""

    def _add(self, share: float, theirs: Any, mine: Any) -> None:
        super()._add(share, theirs, self.form.write(self.value))


@pytest.mark.parametrize("algorithm", [ADPSGD, SDPSGD], ids=lambda cls: cls.__name__)
@pytest.mark.parametrize(
    ("learners", "graph", "mixing"),
    [
        (1, "ring", "pairwise"),
        (2, "path", "neighbours"),
        (3, "ring", "neighbours"),
        (5, "ring", "pairwise"),
        (4, "complete", "random-pairs"),
        (4, "star", "neighbours"),
    ],
)
def test_the_sum_is_conserved_by_real_threads(
    algorithm: type[Learner], learners: int, graph: str, mixing: str
) -> None:
    case = Case(algorithm, learners, graph=graph, mixing=mixing)
    team = case.cast(
        ExactWorkload(learners=learners, samples_per_epoch=12 * learners, form=Written())
    )
    log = train(team)
    assert imbalance(team) == 0
    assert len(log.updates) >= 12 * learners


@pytest.mark.parametrize(
    ("learners", "graph", "mixing"),
    [(1, "path", "pairwise"), (4, "ring", "pairwise"), (4, "star", "neighbours")],
)
def test_the_sum_is_conserved_by_real_threads_that_lock(
    learners: int, graph: str, mixing: str
) -> None:
    case = Case(ADPSGD, learners, {"exchange": "lock"}, graph=graph, mixing=mixing)
    team = case.cast(
        ExactWorkload(learners=learners, samples_per_epoch=12 * learners, form=Written())
    )
    log = train(team)
    assert imbalance(team) == 0
    assert len(log.updates) >= 12 * learners
