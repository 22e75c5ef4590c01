"""Synchronous decentralised SGD, read step by step."""

from __future__ import annotations

from fractions import Fraction

import pytest

from dualrt.algorithms.sdpsgd import SDPSGD
from dualrt.core.effects import Delivery, Packet, Recv
from dualrt.core.errors import UsageError
from dualrt.core.learner import Layout
from tests.support.exact import ExactWorkload, learners_of, seats
from tests.support.pushing import computed, first, number, reported, sent, value


def test_weights_leave_before_the_gradient_and_are_averaged_after_it() -> None:
    workload = ExactWorkload(learners=4, samples_per_epoch=40, gradients=False)
    learner = learners_of(SDPSGD, workload, 4, mixing="neighbours")[1]
    train = learner.train()
    for peer, effect in ((0, first(train)), (2, train.send(None))):
        packet = sent(effect, peer, "weights")
        # It began at 1 * 1 + 1.
        assert (packet.body, packet.versions) == (number(2), (0, 0, 0, 0))
    gradient = computed(train.send(None), "gradient")
    assert train.send(gradient) == Recv("weights", 0)
    theirs = Packet((3, 0, 0, 0), number(5))
    computed(train.send(Delivery(0, theirs)), "blend")
    third = Fraction(1 / 3)
    assert value(learner) == 2 + third * (5 - 2)
    assert train.send(None) == Recv("weights", 2)
    computed(train.send(Delivery(2, Packet((0, 0, 1, 0), number(11)))), "blend")
    # Both differences are to the weights that were sent.
    assert value(learner) == 2 + third * (5 - 2) + third * (11 - 2)
    update = reported(train.send(computed(train.send(None), "update")))
    assert (update.staleness, update.missed) == (3, 4)
    train.close()


def test_its_count_of_updates_is_its_step_times_all() -> None:
    workload = ExactWorkload(learners=4, samples_per_epoch=40)
    learner, *_ = learners_of(SDPSGD, workload, 4)
    learner.weights.hear((0, 7, 7, 7))
    assert learner.updates == 0
    learner.weights.hear((2, 0, 0, 0))
    assert learner.updates == 8


def test_it_is_refused_without_a_graph() -> None:
    workload = ExactWorkload(learners=2, samples_per_epoch=40)
    seat, _ = seats(workload, Layout(replicas=(0, 1)), learners=2)
    with pytest.raises(UsageError, match=r"give it a \[topology\]"):
        SDPSGD(seat)
