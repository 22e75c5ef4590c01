"""All that processes have comes together, and goes out again, however long that takes with many."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, cast

import pytest
import torch

from dualrt.core.effects import Delivery, Packet
from dualrt.real import gathering
from dualrt.real.events import Events
from dualrt.real.gathering import AT_A_TIME, TURN, WAIT, Contribution, Gathering
from dualrt.real.gossip import Gossip
from tests.support.gossips import PATIENCE_S, team

LEARNERS = 7

Hook = Callable[[str, int | None], None]


@pytest.fixture(autouse=True)
def tells_always(monkeypatch: pytest.MonkeyPatch) -> None:
    """A word after each message, as after each that takes its time."""
    monkeypatch.setattr(gathering, "WORDS_A_TIMEOUT", float("inf"))


@contextmanager
def processes(learners: int = LEARNERS) -> Iterator[tuple[list[Gossip], list[Gathering]]]:
    """All of which have met, as at the end of a run."""
    with team(learners, silence_s=PATIENCE_S) as gossips:
        for one in gossips:
            for other in gossips:
                one.send(other.rank, "met", Packet())
        for one in gossips:
            for other in gossips:
                one.recv("met", other.rank)
        yield (
            gossips,
            [Gathering(one, learners, PATIENCE_S, Events(one.rank)) for one in gossips],
        )


def all_at_once(work: Callable[[int], Any], ranks: range = range(LEARNERS)) -> dict[int, Any]:
    with ThreadPoolExecutor(len(ranks)) as pool:
        going: dict[int, Future[Any]] = {rank: pool.submit(work, rank) for rank in ranks}
        return {rank: future.result(2 * PATIENCE_S) for rank, future in going.items()}


def before_taking(gossip: Gossip, hook: Hook) -> None:
    """Have `hook` called with the tag and the sender of whatever is about to be waited for."""
    recv = gossip.recv

    def hooked(tag: str, peer: int | None = None, timeout_s: float | None = None) -> Delivery:
        hook(tag, peer)
        return recv(tag, peer, timeout_s)

    cast(Any, gossip).recv = hooked


def words(gossip: Gossip, heard: Callable[[str], None]) -> None:
    """Have `heard` called with every word of a collector that comes."""
    recv = gossip.recv

    def hooked(tag: str, peer: int | None = None, timeout_s: float | None = None) -> Delivery:
        delivery = recv(tag, peer, timeout_s)
        if tag in {gathering.GATHER, gathering.SPREAD}:
            heard(delivery.packet.note)
        return delivery

    cast(Any, gossip).recv = hooked


def given(rank: int, vectors: int) -> Contribution:
    return Contribution(
        tuple(torch.full((3,), 10.0 * rank + n) for n in range(vectors)), b"%d" % rank
    )


def test_each_adds_vectors_of_its_own_and_some_add_none() -> None:
    with processes() as (_, those):
        ends = all_at_once(lambda rank: those[rank].gather(given(rank, vectors=rank % 3)))
    assert list(ends[0]) == list(range(LEARNERS))
    for rank, part in ends[0].items():
        assert part.figures == b"%d" % rank
        assert [vector.tolist() for vector in part.vectors] == [
            [10.0 * rank + n] * 3 for n in range(rank % 3)
        ]
    assert not any(ends[rank] for rank in range(1, LEARNERS))


def test_who_waits_for_the_others_hears_after_each_vector_that_it_goes_on() -> None:
    told = threading.Semaphore(0)
    with processes() as (gossips, those):
        # The last has its turn last, and waits meanwhile.
        words(gossips[-1], lambda word: told.release() if word == WAIT else None)
        silences = []

        def taking(tag: str, peer: int | None) -> None:
            if tag == "vector" and peer != LEARNERS - 1:
                silences.append(not told.acquire(timeout=PATIENCE_S / 4))

        before_taking(gossips[0], taking)
        all_at_once(lambda rank: those[rank].gather(given(rank, vectors=2)))
    assert silences == [False] * 2 * (LEARNERS - 2)


def test_who_waits_for_a_spread_hears_after_each_that_has_it_that_it_goes_on() -> None:
    told = threading.Semaphore(0)
    with processes() as (gossips, those):
        words(gossips[-1], lambda word: told.release() if word == WAIT else None)
        silences = []

        def taken(tag: str, peer: int | None) -> None:
            # Before that many nobody has it, and after them the last has its turn.
            if tag == "taken" and peer is not None and 1 < peer <= LEARNERS - AT_A_TIME:
                silences.append(not told.acquire(timeout=PATIENCE_S / 4))

        before_taking(gossips[0], taken)
        packet = Packet(note="n", body=torch.arange(3.0))
        ends = all_at_once(lambda rank: those[rank].spread(None if rank else packet))
    assert all(end.note == "n" and end.body.tolist() == [0, 1, 2] for end in ends.values())
    assert silences == [False] * (LEARNERS - AT_A_TIME - 1)


@pytest.mark.parametrize("what", ["gather", "spread"])
def test_a_few_have_their_turn_at_a_time(what: str) -> None:
    with processes() as (gossips, those):
        under_way, most = set[int](), list[int]()
        send = gossips[0].send

        def telling(peer: int, tag: str, packet: Packet) -> None:
            if packet.note == TURN:
                under_way.add(peer)
                most.append(len(under_way))
            send(peer, tag, packet)

        cast(Any, gossips[0]).send = telling
        last = "vector" if what == "gather" else "taken"

        def taking(tag: str, peer: int | None) -> None:
            if tag == last and peer is not None:
                under_way.discard(peer)

        before_taking(gossips[0], taking)
        all_at_once(
            lambda rank: (
                those[rank].gather(given(rank, vectors=1))
                if what == "gather"
                else those[rank].spread(None if rank else Packet(note=1))
            )
        )
    assert max(most) == AT_A_TIME
    assert len(most) == LEARNERS - 1


def test_one_that_is_lost_while_it_sends_is_left_out_and_nobody_else() -> None:
    with processes() as (gossips, those):
        lost = 2

        def gather(rank: int) -> dict[int, Contribution]:
            if rank != lost:
                return those[rank].gather(given(rank, vectors=2))
            gossips[rank].send(0, "figures", Packet(note=2, body=torch.zeros(1, dtype=torch.uint8)))
            gossips[rank].send(0, "vector", Packet(body=torch.zeros(3)))
            gossips[rank].close()
            return {}

        ends = all_at_once(gather)
    assert list(ends[0]) == [rank for rank in range(LEARNERS) if rank != lost]


def test_where_the_collector_is_lost_on_the_way_the_next_one_collects() -> None:
    with processes() as (gossips, those):

        def gather(rank: int) -> dict[int, Contribution]:
            if rank:
                return those[rank].gather(given(rank, vectors=1))
            gossips[0].send(1, gathering.GATHER, Packet(note=TURN))
            gossips[0].send(3, gathering.GATHER, Packet(note=WAIT))
            gossips[0].recv("vector", 1)
            gossips[0].close()
            return {}

        ends = all_at_once(gather)
    assert list(ends[1]) == list(range(1, LEARNERS))
    assert {those[rank].collector for rank in range(1, LEARNERS)} == {1}
