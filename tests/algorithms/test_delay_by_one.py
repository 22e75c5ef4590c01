"""Delay-by-one, read step by step."""

from __future__ import annotations

from fractions import Fraction

from dualrt.algorithms.delay_by_one import DelayByOne
from dualrt.core.effects import Compute, Place, Together
from tests.support.exact import ExactWorkload, learners_of
from tests.support.pushing import computed, first, number, reduced, reported, result, value


def test_the_mean_of_all_weights_is_taken_while_the_gradient_is_computed() -> None:
    workload = ExactWorkload(learners=3, samples_per_epoch=30)
    _, learner, _ = learners_of(DelayByOne, workload, 3, rate=0.5)
    train = learner.train()
    together = first(train)
    assert isinstance(together, Together)
    assert repr(together) == "Together(Compute gradient on device, DelayByOne.mean_of)"
    beside, average = together.children

    # The average is of the weights as they were read, 1 * 1 + 1.
    assert reduced(first(average), "all") == 2
    mean = result(average, number(10))
    gradient = result(beside, computed(first(beside), "gradient"))

    blend = train.send((gradient, mean))
    assert isinstance(blend, Compute)
    assert blend.on is Place.DEVICE
    computed(blend, "blend")
    assert value(learner) == 10
    staleness = computed(train.send(None), "update")
    # The gradient was -1.
    assert value(learner) == 10 + Fraction(1, 2)
    # Nobody had applied anything before the first mean.
    assert reported(train.send(staleness)).staleness == 0
    train.close()


def test_the_second_gradient_misses_the_first_update_of_everyone_else() -> None:
    workload = ExactWorkload(learners=3, samples_per_epoch=30)
    learner, *_ = learners_of(DelayByOne, workload, 3)
    learner.weights.descend(number(0), 1.0, (0, 0, 0))
    train = learner.train()
    together = first(train)
    assert isinstance(together, Together)
    beside, average = together.children
    first(average)
    mean = result(average, number(1))
    assert mean.versions == (1, 1, 1)
    gradient = result(beside, computed(first(beside), "gradient"))
    computed(train.send((gradient, mean)), "blend")
    update = reported(train.send(computed(train.send(None), "update")))
    assert (update.staleness, update.missed) == (1, 2)
    train.close()
