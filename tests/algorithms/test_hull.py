"""Averaging alone and the hull of the starts: where weights stay in it, and where not, how far out.

An exchange adds share * (theirs - mine), and where a learner has answered others since it sent
`mine`, it has moved already and moves once more. So:

- Where one side initiates, one exchange at a time, and the other answers one after another, `mine`
  is always current. Each new weight is then a mean of two old ones, and nothing is ever outside.
- Where a learner does both, two answers or more within one exchange can take it outside, by less
  than the share that it has under way (the last test takes one there). In a dozen runs of each kind
  below, with exponential and Pareto delays, the farthest was 7/16 of the width of the hull on a
  complete graph, 1/8 on an odd ring, 0.003 on an even ring where all initiate, 0 on a star. The
  sum stays what it is, and learners come together all the same.
"""

from __future__ import annotations

from fractions import Fraction
from statistics import pvariance
from typing import NamedTuple, cast

import pytest

from dualrt.algorithms.adpsgd import ADPSGD
from dualrt.core.effects import Compute, Delivery, Packet
from tests.support.exact import ExactWeights, ExactWorkload, Number, imbalance, learners_of
from tests.support.runs import Case
from tests.support.simulated import simulate
from tests.support.weather import DELAYS, weather

AT_THE_START = 3 / 16
"""Variance where a quarter of the learners is at 1, and the others at 0."""


class Course(NamedTuple):
    """What averaging did, in units of the width of the hull of the starts."""

    excess: float
    """How far any weight was outside at any time."""
    variance: float
    """Of the learners at the end."""


def average(
    learners: int, graph: str, mixing: str, delay: str, seed: int = 0, steps: int = 5
) -> Course:
    """AD-PSGD without gradients: every fourth learner begins at 1, all others at 0."""
    case = Case(ADPSGD, learners, graph=graph, mixing=mixing, seed=seed, machine={"step_cv": 1.0})
    workload = ExactWorkload(learners=learners, samples_per_epoch=steps * learners, gradients=False)
    team = case.cast(workload)
    weights = [cast(ExactWeights, learner.weights) for learner in team]
    for its in weights:
        its.start = its.value = its.lowest = its.highest = Fraction(its.rank % 4 == 1)
    with weather(DELAYS[delay], seed):
        simulate(team, case.where())
    assert imbalance(team) == 0
    above = max(its.highest for its in weights) - 1
    below = -min(its.lowest for its in weights)
    return Course(float(max(above, below)), pvariance([float(its.value) for its in weights]))


@pytest.mark.parametrize("delay", DELAYS)
@pytest.mark.parametrize("graph", ["ring", "star", "path", "hypercube", "torus"])
def test_where_one_side_initiates_weights_never_leave_the_hull(graph: str, delay: str) -> None:
    course = average(64, graph, "pairwise", delay)
    assert course.excess == 0
    assert course.variance < AT_THE_START


@pytest.mark.parametrize("delay", DELAYS)
@pytest.mark.parametrize(
    ("learners", "graph", "mixing", "share"),
    [
        (63, "ring", "pairwise", 1 / 2),
        (64, "ring", "neighbours", 1 / 3),
        (64, "star", "neighbours", 1 / 64),
        (12, "complete", "neighbours", 1 / 12),
        (64, "ring", "random-ring", 1 / 3),
        (64, "complete", "pairwise", 1 / 2),
        (64, "complete", "random-pairs", 1 / 2),
    ],
)
def test_where_all_initiate_and_answer_weights_are_outside_by_less_than_a_share(
    learners: int, graph: str, mixing: str, share: float, delay: str
) -> None:
    course = average(learners, graph, mixing, delay)
    assert course.excess < share
    assert course.variance < AT_THE_START


@pytest.mark.slow
@pytest.mark.parametrize("delay", DELAYS)
@pytest.mark.parametrize(
    ("graph", "mixing", "share"),
    [
        ("ring", "neighbours", 1 / 3),
        ("complete", "pairwise", 1 / 2),
        ("complete", "random-pairs", 1 / 2),
    ],
)
def test_256_learners_stay_as_close_to_the_hull(
    graph: str, mixing: str, share: float, delay: str
) -> None:
    assert average(256, graph, mixing, delay).excess < share


@pytest.mark.slow
@pytest.mark.parametrize("delay", DELAYS)
@pytest.mark.parametrize("graph", ["ring", "star"])
def test_256_learners_of_which_one_side_initiates_stay_inside(graph: str, delay: str) -> None:
    assert average(256, graph, "pairwise", delay).excess == 0


@pytest.mark.parametrize("answered", [0, 1, 2, 5])
def test_answers_given_during_an_exchange_carry_a_learner_outside(answered: int) -> None:
    # The longest way out: a learner at 0 among ones, whose own answer comes last.
    workload = ExactWorkload(learners=2, samples_per_epoch=10, spread=False)
    learner, _ = learners_of(ADPSGD, workload, 2, graph="path")
    learner.weights.adopt(learner.weights.snapshot()._replace(vector=Number(Fraction(0), 1)))
    one = Number(Fraction(1), 1)

    initiated = learner.exchange.initiate(peer=1, share=0.5)
    initiated.send(None)
    initiated.send(None)
    serve = learner.exchange.answer()
    serve.send(None)
    for offer in range(answered):
        serve.send(Delivery(1, Packet((0, 0), one, (offer + 1, 0.5, 0))))
        blend = serve.send(None)
        assert isinstance(blend, Compute)
        blend.work()
        serve.send(None)
    last = initiated.send(Delivery(1, Packet((0, 0), one, (1, 0))))
    assert isinstance(last, Compute)
    last.work()

    excess = learner.weights.snapshot().vector.value - 1
    assert excess == Fraction(1, 2) - Fraction(1, 2**answered)
    serve.close()
    initiated.close()
