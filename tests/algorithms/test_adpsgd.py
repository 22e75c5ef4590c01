"""AD-PSGD, read step by step: push an answer in, compare the effect that comes out."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from dualrt.algorithms.adpsgd import ADPSGD
from dualrt.core.effects import Compute, Delivery, Packet, Place, Recv, Report, Send, Together
from tests.support.exact import ExactWorkload, Number, learners_of
from tests.support.pushing import body


def pair() -> list[ADPSGD]:
    workload = ExactWorkload(learners=2, samples_per_epoch=100)
    return learners_of(ADPSGD, workload, 2, graph="path")


def work(effect: Any) -> Any:
    assert isinstance(effect, Compute)
    return effect.work()


def test_a_step_is_gradient_and_average_at_once_and_then_the_update() -> None:
    initiator, _ = pair()
    train = initiator.train()
    together = train.send(None)
    assert isinstance(together, Together)
    assert repr(together) == "Together(Compute gradient on device, Delta.initiate)"
    gradient, average = together.children
    body(average).close()
    update = train.send((work(gradient), None))
    assert isinstance(update, Compute)
    assert update.cost.kind == "update"
    report = train.send(update.work())
    assert isinstance(report, Report)
    assert (report.update.step, report.update.staleness) == (1, 0)
    train.close()


def test_the_initiator_offers_waits_for_the_answer_and_applies_the_difference() -> None:
    initiator, _ = pair()
    exchange = initiator.exchange.initiate(peer=1, share=0.5)
    offer = exchange.send(None)
    assert isinstance(offer, Send)
    assert (offer.peer, offer.tag, offer.packet.note) == (1, "offer", (1, 0.5, 0))
    assert exchange.send(None) == Recv("answer", 1)
    answer = Packet((0, 4), Number(Fraction(9), 1_000_000), (1, 0))
    blend = exchange.send(Delivery(1, answer))
    assert blend.on is Place.HOST
    blend.work()
    # It began at 1 and the answer was 9.
    assert initiator.weights.snapshot().vector.value == 5
    assert initiator.weights.snapshot().versions == (0, 4)


def test_the_responder_answers_before_it_blends() -> None:
    _, responder = pair()
    serve = responder.exchange.answer()
    assert serve.send(None) == Recv("offer")
    offer = Packet((3, 0), Number(Fraction(10), 1_000_000), (1, 0.5, 0))
    answer = serve.send(Delivery(0, offer))
    assert isinstance(answer, Send)
    # It began at 2, and answers with that.
    assert (answer.peer, answer.tag, answer.packet.body.value) == (0, "answer", 2)
    work(serve.send(None))
    assert responder.weights.snapshot().vector.value == 6
    serve.close()
