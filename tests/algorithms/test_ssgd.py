"""Synchronous SGD, read step by step."""

from __future__ import annotations

from fractions import Fraction

import pytest

from dualrt.algorithms.ssgd import SSGD
from dualrt.core.effects import Compute, MeanGradient
from dualrt.core.errors import UsageError
from dualrt.workloads.phantom import Phantom
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


def test_a_gradient_of_several_tensors_is_averaged_in_buckets() -> None:
    tensors = (40, 30, 20, 10)
    workload = Phantom(
        seed=0, learners=2, batch=1, parameters_bytes=sum(tensors), tensors_bytes=tensors
    )
    _, learner = learners_of(SSGD, workload, 2, {"bucket_bytes": 25})
    asked = first(learner.train())
    assert isinstance(asked, MeanGradient)
    assert (asked.group.name, asked.pieces) == ("all", (30, 30, 40))
    assert learner.draws == 1


def test_without_buckets_it_is_averaged_as_a_whole() -> None:
    workload = Phantom(seed=0, learners=2, batch=1, parameters_bytes=100, tensors_bytes=(60, 40))
    _, learner = learners_of(SSGD, workload, 2, {"bucket_bytes": 0})
    assert isinstance(first(learner.train()), Compute)


def test_less_than_no_bucket_is_refused() -> None:
    with pytest.raises(UsageError, match="bucket_bytes = -1"):
        SSGD.layout(2, bucket_bytes=-1)


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
