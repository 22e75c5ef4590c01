"""Deliveries come in order, every wait is bounded, and a closed mailbox holds nobody."""

from __future__ import annotations

import math
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from dualrt.core.effects import Delivery, Packet
from dualrt.core.errors import Loss, PeerLostError, RunError, StalledError
from dualrt.real.gate import Bell, ClosedError
from dualrt.real.mailbox import Mailbox


def letter(sender: int, note: object) -> Delivery:
    return Delivery(sender, Packet(note=note))


def waiting(mailbox: Mailbox) -> list[Bell]:
    return [bell for bells in mailbox._wanted.values() for bell in bells]


def await_takers(mailbox: Mailbox, number: int) -> None:
    """Until so many threads wait, for anyone or for one peer."""
    with mailbox._gate:
        assert mailbox._gate.wait(lambda: len(waiting(mailbox)) >= number, 20)


def test_a_sender_s_deliveries_come_in_order() -> None:
    mailbox = Mailbox()
    for note in range(5):
        mailbox.put(letter(1, note), "t")
    assert [mailbox.get("t", 1, 0).packet.note for _ in range(5)] == [0, 1, 2, 3, 4]


def test_anyone_means_the_oldest_of_that_tag() -> None:
    mailbox = Mailbox()
    for sender, tag in [(3, "other"), (2, "t"), (1, "t"), (2, "t")]:
        mailbox.put(letter(sender, None), tag)
    assert [mailbox.get("t", None, 0).sender for _ in range(3)] == [2, 1, 2]
    assert mailbox.get("other", None, 0).sender == 3


def test_a_chosen_sender_is_taken_past_older_deliveries_of_others() -> None:
    mailbox = Mailbox()
    mailbox.put(letter(1, "a"), "t")
    mailbox.put(letter(2, "b"), "t")
    assert mailbox.get("t", 2, 0).packet.note == "b"
    assert mailbox.get("t", None, 0).packet.note == "a"


@pytest.mark.parametrize("peer", [None, 1])
def test_a_wait_ends_with_its_timeout(peer: int | None) -> None:
    mailbox = Mailbox()
    mailbox.put(letter(2, None), "other")
    with pytest.raises(StalledError, match="no 't' came from"):
        mailbox.get("t", peer, 0.01)


def test_a_waiter_gets_what_comes_later() -> None:
    mailbox = Mailbox()
    with ThreadPoolExecutor(1) as pool:
        waiter = pool.submit(mailbox.get, "t", None, math.inf)
        mailbox.put(letter(1, "late"), "t")
        assert waiter.result(5).packet.note == "late"


def test_each_delivery_goes_to_one_of_many_waiters() -> None:
    mailbox = Mailbox()
    with ThreadPoolExecutor(4) as pool:
        waiters = [pool.submit(mailbox.get, "t", None, 5) for _ in range(40)]
        for note in range(40):
            mailbox.put(letter(note % 3, note), "t")
        notes = [waiter.result(5).packet.note for waiter in waiters]
    assert sorted(notes) == list(range(40))


@pytest.mark.parametrize("error", [None, RunError("the wire is cut")])
def test_close_ends_waits_now_and_later(error: RunError | None) -> None:
    mailbox = Mailbox()
    expected = ClosedError if error is None else RunError
    with ThreadPoolExecutor(2) as pool:
        waiters = [pool.submit(mailbox.get, "t", peer, math.inf) for peer in (None, 1)]
        mailbox.close(error)
        for waiter in waiters:
            with pytest.raises(expected):
                waiter.result(5)
    mailbox.put(letter(1, None), "t")
    with pytest.raises(expected):
        mailbox.get("t", 1, 5)


def test_the_first_reason_for_closing_is_the_one_that_is_told() -> None:
    mailbox = Mailbox()
    mailbox.close(RunError("first"))
    mailbox.close()
    with pytest.raises(RunError, match="first"):
        mailbox.get("t", None, 5)


def test_quiet_is_when_every_taker_waits_for_what_is_not_there() -> None:
    mailbox = Mailbox()
    mailbox.put(letter(1, "nobody wants this"), "other")
    assert not mailbox.await_quiet(1, 0.01)
    with ThreadPoolExecutor(1) as pool:
        taker = pool.submit(mailbox.get, "t", None, 5)
        assert mailbox.await_quiet(1, 5)
        mailbox.put(letter(1, None), "t")
        taker.result(5)
        assert not mailbox.await_quiet(1, 0.01)


def test_who_waits_for_one_peer_is_in_the_midst_of_something() -> None:
    mailbox = Mailbox()
    with ThreadPoolExecutor(1) as pool:
        taker = pool.submit(mailbox.get, "t", 1, 20)
        await_takers(mailbox, 1)
        assert not mailbox.await_quiet(1, 0.01)
        mailbox.put(letter(1, None), "t")
        taker.result(20)


def test_a_message_wakes_nobody_who_waits_for_another(monkeypatch: pytest.MonkeyPatch) -> None:
    mailbox, looked = Mailbox(), Counter[str]()
    oldest = mailbox._oldest

    def counted(tag: str, peer: int | None) -> int | None:
        looked[tag] += 1
        return oldest(tag, peer)

    monkeypatch.setattr(mailbox, "_oldest", counted)
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(mailbox.get, "other", None, 20)
        await_takers(mailbox, 1)
        with mailbox._gate:
            before = looked["other"]
        for note in range(20):
            mailbox.put(letter(1, note), "t")
            mailbox.get("t", 1, 20)
        with mailbox._gate:
            assert looked["other"] == before
        mailbox.put(letter(1, None), "other")
        other.result(20)


def test_a_wait_for_a_peer_ends_when_it_is_lost_and_one_for_anyone_goes_on() -> None:
    mailbox = Mailbox()
    with ThreadPoolExecutor(2) as pool:
        named = pool.submit(mailbox.get, "t", 1, 20)
        anyone = pool.submit(mailbox.get, "t", None, 20)
        await_takers(mailbox, 2)
        mailbox.lose(1, "it fell")
        with pytest.raises(PeerLostError, match="learner 1 is lost: it fell") as lost:
            named.result(20)
        assert lost.value.loss is Loss.NOTICED
        assert not anyone.done()
        mailbox.put(letter(2, "b"), "t")
        assert anyone.result(20).packet.note == "b"


def test_a_lost_peer_is_not_waited_for_until_it_is_found() -> None:
    mailbox = Mailbox()
    mailbox.put(letter(1, "before"), "t")
    mailbox.lose(1, "it fell")
    assert mailbox.get("t", 1, 20).packet.note == "before"
    with pytest.raises(PeerLostError) as lost:
        mailbox.get("t", 1, 20)
    assert lost.value.loss is Loss.KNOWN
    mailbox.find(1)
    with pytest.raises(StalledError):
        mailbox.get("t", 1, 0.01)


def test_a_peer_that_was_away_for_a_moment_answers_no_question_of_before() -> None:
    mailbox = Mailbox()
    with ThreadPoolExecutor(1) as pool:
        named = pool.submit(mailbox.get, "t", 1, 20)
        await_takers(mailbox, 1)
        mailbox.lose(1, "it fell")
        mailbox.find(1)
        with pytest.raises(PeerLostError):
            named.result(20)
