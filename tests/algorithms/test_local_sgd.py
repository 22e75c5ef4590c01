"""Local SGD, read step by step."""

from __future__ import annotations

import pytest

from dualrt.algorithms.local_sgd import LocalSGD
from dualrt.core.effects import AllReduce, Body
from dualrt.core.errors import UsageError
from dualrt.workloads.quadratic import Quadratic
from tests.support.exact import ExactWorkload, learners_of
from tests.support.pushing import computed, first, number, reduced, reported, result, value


def step(train: Body[None], answer: object = None) -> None:
    """One step of a learner on its own; the report is left to be answered."""
    gradient = computed(train.send(answer), "gradient")
    staleness = computed(train.send(gradient), "update")
    assert reported(train.send(staleness)).staleness == 0


def test_steps_alone_are_followed_by_the_mean_of_all() -> None:
    workload = ExactWorkload(learners=2, samples_per_epoch=100, gradients=False)
    _, learner = learners_of(LocalSGD, workload, 2, {"period": 2})
    train = learner.train()
    step(train)
    step(train)
    assert reduced(train.send(None), "all") == 2
    computed(train.send(number(9)), "gradient")
    # The mean holds both steps of everyone.
    assert value(learner) == 9
    assert learner.weights.versions.freeze() == (2, 2)
    train.close()


def test_the_last_period_is_cut_short_and_still_averaged() -> None:
    workload = ExactWorkload(learners=2, samples_per_epoch=2)
    learner, _ = learners_of(LocalSGD, workload, 2, {"period": 5})
    train = learner.train()
    step(train)
    reduced(train.send(None), "all")
    result(train, number(7))
    assert value(learner) == 7


def test_the_mean_is_taken_where_the_weights_are() -> None:
    workload = Quadratic(seed=1, learners=2, batch=1)
    learner, _ = learners_of(LocalSGD, workload, 2, {"period": 1})
    train = learner.train()
    step(train)
    averaged = train.send(None)
    assert isinstance(averaged, AllReduce)
    assert averaged.spent
    averaged.vector.fill_(7)
    train.send(averaged.vector)
    after = learner.weights.view().vector
    assert after.data_ptr() == averaged.vector.data_ptr()
    assert after.eq(7).all()
    train.close()


def test_a_period_below_one_is_refused() -> None:
    with pytest.raises(UsageError, match="period = 0"):
        LocalSGD.layout(4, period=0)


def test_learners_that_have_drawn_all_do_nothing() -> None:
    workload = ExactWorkload(learners=2, samples_per_epoch=2)
    learner, _ = learners_of(LocalSGD, workload, 2)
    learner.weights.hear((1, 1))
    with pytest.raises(StopIteration):
        first(learner.train())
