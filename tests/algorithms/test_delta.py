"""The delta exchange when messages are late, come twice or not at all: each counts at most once."""

from __future__ import annotations

from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from dualrt.algorithms.adpsgd import ADPSGD
from dualrt.algorithms.delta import INCARNATION_BITS, KEPT
from dualrt.core.effects import Body, Delivery, Packet, Recv, Together
from dualrt.core.errors import Loss, PeerLostError, RunError
from tests.support.exact import ExactWorkload, learners_of, seats
from tests.support.pushing import computed, first, number, result, sent, value

HERE = Recv("answer", 1)


def pair(incarnation: int = 0) -> list[ADPSGD]:
    """On a path of two: 0 begins at 1, and 1 at 2."""
    workload = ExactWorkload(learners=2, samples_per_epoch=100)
    made = seats(workload, ADPSGD.layout(2), learners=2, graph="path")
    return [ADPSGD(replace(seat, incarnation=incarnation)) for seat in made]


def answer(value_: int, of: int) -> Delivery:
    return Delivery(1, Packet((0, 0), number(value_), (of, 0)))


def lost(loss: Loss = Loss.SILENT) -> PeerLostError:
    return PeerLostError(1, "for some reason", loss)


def give_up(initiator: ADPSGD, loss: Loss = Loss.SILENT) -> int:
    """Start an exchange in vain; the number of its offer."""
    exchange = initiator.exchange.initiate(1, 0.5)
    offer = sent(first(exchange), 1, "offer")
    assert exchange.send(None) == HERE
    with pytest.raises(StopIteration):
        exchange.throw(lost(loss))
    of, *_ = offer.note
    return int(of)


def test_a_lost_peer_leaves_the_weights_as_they_are() -> None:
    initiator, _ = pair()
    give_up(initiator)
    assert value(initiator) == 1


def test_offers_to_a_peer_have_ascending_numbers() -> None:
    initiator, _ = pair()
    assert [give_up(initiator) for _ in range(3)] == [1, 2, 3]


def test_a_late_answer_is_applied_with_what_was_sent_then() -> None:
    initiator, _ = pair()
    give_up(initiator)
    exchange = initiator.exchange.initiate(1, 0.25)
    sent(first(exchange), 1, "offer")
    assert exchange.send(None) == HERE
    # To the first offer, of 1 with the share 0.5.
    computed(exchange.send(answer(9, of=1)), "blend")
    assert value(initiator) == 5
    assert exchange.send(None) == HERE
    # To the second, which was made before that: of 1, with the share 0.25.
    computed(exchange.send(answer(5, of=2)), "blend")
    assert value(initiator) == 6


def test_an_answer_that_comes_twice_is_applied_once() -> None:
    initiator, _ = pair()
    exchange = initiator.exchange.initiate(1, 0.5)
    first(exchange)
    exchange.send(None)
    computed(exchange.send(answer(9, of=1)), "blend")
    result(exchange)
    again = initiator.exchange.initiate(1, 0.5)
    first(again)
    again.send(None)
    assert again.send(answer(9, of=1)) == HERE
    assert value(initiator) == 5
    again.close()


def test_an_offer_that_comes_twice_or_was_overtaken_is_not_answered() -> None:
    _, responder = pair()
    serve = responder.exchange.answer()
    assert first(serve) == Recv("offer")

    def offer(of: int) -> Delivery:
        return Delivery(0, Packet((0, 0), number(10), (of, 0.5, 0)))

    sent(serve.send(offer(2)), 0, "answer")
    computed(serve.send(None), "blend")
    assert value(responder) == 6
    assert serve.send(None) == Recv("offer")
    for passed in (2, 1):
        assert serve.send(offer(passed)) == Recv("offer")
    sent(serve.send(offer(3)), 0, "answer")
    serve.close()


def test_the_offers_of_another_incarnation_are_answered_again() -> None:
    _, responder = pair()
    again, _ = pair(incarnation=1)
    serve = responder.exchange.answer()
    first(serve)
    sent(serve.send(Delivery(0, Packet((0, 0), number(1), (7, 0.5, 0)))), 0, "answer")
    computed(serve.send(None), "blend")
    serve.send(None)
    exchange = again.exchange.initiate(1, 0.5)
    offer = sent(first(exchange), 1, "offer")
    assert offer.note == ((1 << INCARNATION_BITS) + 1, 0.5, 0)
    sent(serve.send(Delivery(0, offer)), 0, "answer")
    exchange.close()
    serve.close()


def test_at_the_end_it_waits_once_more_for_what_is_missing() -> None:
    initiator, _ = pair()
    give_up(initiator)
    give_up(initiator)
    finish = initiator.exchange.finish()
    assert first(finish) == HERE
    computed(finish.send(answer(9, of=1)), "blend")
    assert finish.send(None) == HERE
    with pytest.raises(StopIteration):
        finish.throw(lost())
    assert value(initiator) == 5
    assert initiator.abandoned == 1


def test_who_is_gone_is_not_waited_for_at_the_end() -> None:
    initiator, _ = pair()
    give_up(initiator, Loss.NOTICED)
    result(initiator.exchange.finish())
    # It may have averaged before it was lost.
    assert initiator.abandoned == 1


def test_what_vanished_on_its_way_to_the_lost_is_no_exchange() -> None:
    initiator, _ = pair()
    give_up(initiator, Loss.KNOWN)
    result(initiator.exchange.finish())
    assert initiator.abandoned == 0


def test_where_nothing_is_missing_the_end_takes_no_message() -> None:
    initiator, _ = pair()
    result(initiator.exchange.finish())
    assert initiator.abandoned == 0


def test_no_more_than_a_few_offers_are_kept_for_late_answers() -> None:
    initiator, _ = pair()
    for _ in range(KEPT + 3):
        give_up(initiator)
    assert initiator.abandoned == 3
    exchange = initiator.exchange.initiate(1, 0.5)
    first(exchange)
    exchange.send(None)
    assert exchange.send(answer(9, of=3)) == HERE
    computed(exchange.send(answer(9, of=4)), "blend")
    exchange.close()


@contextmanager
def rejoining(learner: ADPSGD) -> Iterator[tuple[Body[None], Body[None]]]:
    """The two things that one does at once which was started again: ask, and turn away."""
    rejoin = learner.rejoin()
    both = first(rejoin)
    assert isinstance(both, Together)
    asking, turning_away = both.children
    assert isinstance(asking, Coroutine)
    assert isinstance(turning_away, Coroutine)
    assert first(turning_away) == Recv("offer")
    yield asking, turning_away
    # Its own message, that it has weights.
    with pytest.raises(StopIteration):
        turning_away.send(Delivery(learner.rank, Packet()))
    rejoin.close()


class TestRejoin:
    def test_it_takes_the_weights_and_counts_of_the_first_who_answers(self) -> None:
        workload = ExactWorkload(learners=4, samples_per_epoch=100)
        _, returning, *_ = learners_of(ADPSGD, workload, 4)
        with rejoining(returning) as (asking, _):
            asked = sent(first(asking), 0, "offer")
            assert asked.body is None
            assert asking.send(None) == Recv("answer", 0)
            sent(asking.throw(PeerLostError(0, "it crashed")), 2, "offer")
            assert asking.send(None) == Recv("answer", 2)
            told = asking.send(Delivery(2, Packet((5, 7, 6, 4), number(11), (1, 0))))
            assert sent(told, 1, "offer") == Packet()
        assert value(returning) == 11
        assert returning.weights.versions.freeze() == (5, 7, 6, 4)
        assert (returning.step, returning.draws) == (7, 7)

    def test_who_is_asked_gives_its_weights_and_takes_none(self) -> None:
        _, asked = pair()
        serve = asked.exchange.answer()
        first(serve)
        told = sent(serve.send(Delivery(0, Packet(note=(1, 0.0, 0)))), 0, "answer")
        assert told.body == number(2)
        assert serve.send(None) == Recv("offer")
        serve.close()

    def test_where_nobody_is_left_it_starts_from_the_beginning(self) -> None:
        returning, _ = pair()
        with rejoining(returning) as (asking, _):
            sent(first(asking), 1, "offer")
            asking.send(None)
            sent(asking.throw(lost()), 0, "offer")
        assert value(returning) == 1
        assert returning.step == 0

    def test_who_has_no_weights_yet_says_so_and_is_averaged_with_by_nobody(self) -> None:
        other, returning = pair()
        with rejoining(returning) as (asking, turning_away):
            exchange = other.exchange.initiate(1, 0.5)
            offer = sent(first(exchange), 1, "offer")
            told = sent(turning_away.send(Delivery(0, offer)), 0, "answer")
            assert turning_away.send(None) == Recv("offer")
            exchange.send(None)
            result(exchange, Delivery(1, told))
            asking.close()
        assert value(other) == 1
        assert value(returning) == 2
        assert other.abandoned == 0

    def test_who_has_none_is_not_waited_for_by_another_who_has_none(self) -> None:
        workload = ExactWorkload(learners=4, samples_per_epoch=100)
        _, returning, *_ = learners_of(ADPSGD, workload, 4)
        with rejoining(returning) as (asking, _):
            sent(first(asking), 0, "offer")
            asking.send(None)
            sent(asking.send(Delivery(0, Packet(note=(1, 0)))), 2, "offer")
            asking.close()

    def test_with_the_lock_nobody_comes_back(self) -> None:
        workload = ExactWorkload(learners=2, samples_per_epoch=100)
        returning, _ = learners_of(ADPSGD, workload, 2, {"exchange": "lock"}, graph="path")
        with pytest.raises(RunError, match="ADPSGD cannot take it back"):
            first(returning.rejoin())
