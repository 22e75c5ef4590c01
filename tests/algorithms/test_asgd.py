"""Asynchronous SGD with a parameter server, read step by step."""

from __future__ import annotations

import pytest

from dualrt.algorithms.asgd import ASGD, SERVER
from dualrt.api import simulate
from dualrt.core.effects import Delivery, Packet, Recv
from dualrt.observe.kinds import Activity
from dualrt.scenario import load
from tests.support.exact import ExactWorkload, learners_of
from tests.support.pushing import computed, first, number, reported, result, sent, value


def pair(samples: int = 100) -> list[ASGD]:
    workload = ExactWorkload(learners=2, samples_per_epoch=samples, spread=False)
    return learners_of(ASGD, workload, 2, rate=0.5)


def test_only_the_server_serves_and_its_weights_are_the_model() -> None:
    server, other = pair()
    assert [strand.name for strand in server.strands()] == ["train", "serve"]
    assert [strand.name for strand in other.strands()] == ["train"]
    assert server.seat.layout.replicas == (SERVER,)


def test_a_learner_asks_computes_where_it_was_told_and_pushes() -> None:
    _, learner = pair()
    train = learner.train()
    assert sent(first(train), SERVER, "push") == Packet()
    assert train.send(None) == Recv("pull", SERVER)
    reply = Packet((5, 0), number(3))
    gradient = computed(train.send(Delivery(SERVER, reply)), "gradient")
    push = sent(train.send(gradient), SERVER, "push")
    # Beside the gradient: where it was taken, and the loss.
    assert push == Packet((5, 0), gradient.vector, gradient.loss)
    assert train.send(None) == Recv("pull", SERVER)
    # No weights: it is over.
    result(train, Delivery(SERVER, Packet()))


def test_the_server_applies_what_was_pushed_and_answers_with_the_weights() -> None:
    server, _ = pair()
    serve = server.serve()
    assert first(serve) == Recv("push")
    # A first push is only a question.
    answer = sent(serve.send(Delivery(1, Packet())), 1, "pull")
    assert (answer.versions, answer.body) == ((0, 0), number(1))
    serve.send(None)
    push = Packet((0, 0), number(4), 0.25)
    update = reported(serve.send(computed(serve.send(Delivery(1, push)), "apply")))
    assert value(server) == -1
    assert (update.learner, update.step, update.loss) == (SERVER, 1, 0.25)
    answer = sent(serve.send(None), 1, "pull")
    assert (answer.versions, answer.body) == ((1, 0), number(-1))
    serve.close()


def test_staleness_is_what_was_applied_between_pull_and_push() -> None:
    server, _ = pair()
    serve = server.serve()
    first(serve)
    for applied in range(3):
        # All three were pulled before the first was applied.
        push = Packet((0, 0), number(0), 0.0)
        update = reported(serve.send(computed(serve.send(Delivery(1, push)), "apply")))
        assert update.staleness == applied
        serve.send(None)
        serve.send(None)
    serve.close()


def test_after_the_end_a_push_is_dropped_and_told_so() -> None:
    server, _ = pair(samples=1)
    serve = server.serve()
    first(serve)
    push = Packet((0, 0), number(4), 0.25)
    serve.send(computed(serve.send(Delivery(1, push)), "apply"))
    assert sent(serve.send(None), 1, "pull") == Packet()
    serve.send(None)
    assert sent(serve.send(Delivery(0, push)), 0, "pull") == Packet()
    assert value(server) == -1
    serve.close()


def test_no_device_is_busy_with_what_the_server_applies_on_its_host() -> None:
    settings = ["algorithm.name=asgd", "learners=1", "simulation.epochs=0.0002"]
    outcome = simulate(load("swb2000-adpsgd-16", settings))
    seconds = outcome.tally.seconds_by_activity(SERVER)
    elapsed_s = outcome.summary.elapsed_s
    assert seconds[Activity.OTHER] > 0.1 * elapsed_s
    # Alone, it does nothing while its gradient is applied.
    waiting_s = elapsed_s - seconds[Activity.GRADIENT]
    assert outcome.summary.wait_fraction == pytest.approx(waiting_s / elapsed_s)
