"""Synchronous SGD, read step by step."""

from __future__ import annotations

from fractions import Fraction

import pytest

from dualrt.algorithms.ssgd import SSGD
from tests.support.exact import ExactWorkload, learners_of
from tests.support.pushing import computed, first, number, reduced, reported, value


def test_a_step_is_a_gradient_its_mean_and_the_update() -> None:
    workload = ExactWorkload(learners=3, samples_per_epoch=6, spread=False)
    _, learner, _ = learners_of(SSGD, workload, 3, rate=0.5)
    train = learner.train()
    gradient = computed(first(train), "gradient")
    # Learner 1's first gradient is (31 % 13) - 6.
    assert reduced(train.send(gradient), "all") == -1
    staleness = computed(train.send(number(4)), "update")
    # w = 1 - 0.5 * 4: the mean was applied, and not its own gradient.
    assert value(learner) == Fraction(-1)
    update = reported(train.send(staleness))
    assert (update.learner, update.step, update.staleness, update.missed) == (1, 1, 0, 0)
    assert (update.loss, update.learning_rate) == (1.0, 0.5)
    train.close()


def test_everyone_s_update_counts_as_seen() -> None:
    workload = ExactWorkload(learners=3, samples_per_epoch=6)
    learner, *_ = learners_of(SSGD, workload, 3)
    train = learner.train()
    train.send(computed(first(train), "gradient"))
    train.send(computed(train.send(number(0)), "update"))
    first_of_next = train.send(None)
    assert learner.weights.versions.freeze() == (1, 1, 1)
    train.send(computed(first_of_next, "gradient"))
    train.send(computed(train.send(number(0)), "update"))
    # Six samples are drawn after two steps of three.
    with pytest.raises(StopIteration):
        train.send(None)
