"""Learners of one run exchange messages over the loopback, in one process and in two."""

from __future__ import annotations

import gc
import multiprocessing
import threading
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection

import pytest
import torch

from dualrt.core.effects import Packet
from dualrt.core.errors import StalledError
from dualrt.real.gossip import Gossip
from dualrt.real.wire import DTYPES, WireError
from tests.support.gossips import PATIENCE_S, both_ways, learner, team


def test_a_message_arrives_with_all_it_carries() -> None:
    with team(2) as (a, b):
        a.send(1, "offer", Packet((3, 1), torch.arange(5.0), ("step", 7, None, True)))
        sender, packet = b.recv("offer", 0)
        assert sender == 0
        assert packet.versions == (3, 1)
        assert packet.note == ("step", 7, None, True)
        assert torch.equal(packet.body, torch.arange(5.0))


@both_ways
@pytest.mark.parametrize("dtype", DTYPES.values(), ids=str)
def test_every_dtype_arrives(dtype: torch.dtype, shares_memory: bool) -> None:
    body = (torch.arange(700_001) % 120).to(dtype)
    with team(2, shares_memory=shares_memory) as (a, b):
        a.send(1, "t", Packet(body=body))
        arrived = b.recv("t").packet.body
        assert arrived.dtype == dtype
        assert torch.equal(arrived, body)


@both_ways
def test_big_bodies_cross_each_other_intact(shares_memory: bool) -> None:
    generator = torch.Generator().manual_seed(1)
    bodies = [torch.rand(5_000_000, generator=generator) for _ in range(2)]
    with team(2, shares_memory=shares_memory) as members:
        for _ in range(3):
            for member in members:
                member.send(1 - member.rank, "big", Packet(body=bodies[member.rank]))
            for member in members:
                arrived = member.recv("big").packet.body
                assert torch.equal(arrived, bodies[1 - member.rank])
        assert not any(count for member in members for count in member.counters.values())


@both_ways
def test_small_and_big_messages_keep_their_order(shares_memory: bool) -> None:
    sizes = [0, 1, 5_000_000, 3, 0, 70_000, 600_000, 2]
    with team(2, shares_memory=shares_memory) as (a, b):
        for round_ in range(4):
            for size in sizes:
                body = torch.full((size,), round_, dtype=torch.uint8)
                a.send(1, "t", Packet(body=body, note=size))
            for size in sizes:
                packet = b.recv("t", 0).packet
                assert packet.note == size
                assert torch.equal(packet.body, torch.full((size,), round_, dtype=torch.uint8))


def test_order_holds_for_each_sender_and_tag() -> None:
    with team(3) as (a, b, c):
        for note in range(50):
            a.send(2, "even" if note % 2 == 0 else "odd", Packet(note=note))
            b.send(2, "even", Packet(note=note))
        assert [c.recv("odd").packet.note for _ in range(25)] == list(range(1, 50, 2))
        assert [c.recv("even", 1).packet.note for _ in range(50)] == list(range(50))
        assert [c.recv("even", 0).packet.note for _ in range(25)] == list(range(0, 50, 2))


def test_many_threads_may_send_at_once() -> None:
    """Four learners, each with a thread a peer, 500 messages each; each with a receiver."""
    messages = 500

    def pour(source: Gossip, peer: int) -> None:
        for note in range(messages):
            source.send(peer, "drop", Packet(note=note))

    def drain(target: Gossip) -> dict[int, list[object]]:
        heard: dict[int, list[object]] = {}
        for _ in range(3 * messages):
            sender, packet = target.recv("drop")
            heard.setdefault(sender, []).append(packet.note)
        return heard

    with ThreadPoolExecutor(16) as pool, team(4) as members:
        for member in members:
            for peer in {0, 1, 2, 3} - {member.rank}:
                pool.submit(pour, member, peer)
        draining = [pool.submit(drain, member) for member in members]
        for member, drained in zip(members, draining, strict=True):
            others = {0, 1, 2, 3} - {member.rank}
            assert drained.result(60) == {peer: list(range(messages)) for peer in others}
            assert not any(member.counters.values())


def test_what_is_sent_to_oneself_is_there() -> None:
    with team(1) as (a,):
        a.send(0, "t", Packet(note="me"))
        assert a.recv("t", 0, 0).packet.note == "me"


@both_ways
def test_a_fast_sender_waits_for_the_strand_that_takes(shares_memory: bool) -> None:
    packet = Packet(body=torch.zeros(10_000_000, dtype=torch.uint8))

    def pour(source: Gossip) -> None:
        for _ in range(20):
            source.send(1, "t", packet)

    with (
        ThreadPoolExecutor(1) as pool,
        team(2, timeout_s=1.5, max_body_bytes=packet.nbytes, shares_memory=shares_memory) as (a, b),
    ):
        a.send(1, "t", packet)
        a.send(1, "t", packet)
        with pytest.raises(StalledError, match="learner 1 took no message"):
            a.send(1, "t", packet)
        b.recv("t", 0, PATIENCE_S)
        pouring = pool.submit(pour, a)
        for _ in range(21):
            b.recv("t", 0, PATIENCE_S)
        pouring.result(PATIENCE_S)


def test_a_body_too_large_is_refused_where_it_is_sent() -> None:
    with team(2, max_body_bytes=100) as (a, _), pytest.raises(WireError, match="max_body_bytes"):
        a.send(1, "t", Packet(body=torch.zeros(26)))


@both_ways
def test_bodies_are_let_go_when_they_have_arrived(shares_memory: bool) -> None:
    body = torch.zeros(5_000_000)
    alive = threading.Event()

    class Witness(torch.Tensor):
        def __del__(self) -> None:
            alive.set()

    with team(2, shares_memory=shares_memory) as (a, b):
        a.send(1, "t", Packet(body=body.as_subclass(Witness)))
        del body
        b.recv("t")
        gc.collect()
        assert alive.wait(PATIENCE_S)


def echo(pipe: Connection) -> None:
    """What the second process does."""
    with learner(1) as gossip:
        pipe.send(gossip.address)
        gossip.connect({0: pipe.recv(), 1: gossip.address}, greet=[0])
        for _ in range(3):
            sender, packet = gossip.recv("ask")
            gossip.send(sender, "answer", packet)
        pipe.send((gossip.finish(PATIENCE_S), gossip.counters))


def test_two_processes_exchange() -> None:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=echo, args=(theirs,))
    process.start()
    try:
        with learner(0, timeout_s=60) as gossip:
            assert ours.poll(60)
            address = ours.recv()
            ours.send(gossip.address)
            gossip.connect({0: gossip.address, 1: address}, greet=[1])
            for body in (None, torch.arange(3), torch.rand(5_000_000)):
                gossip.send(1, "ask", Packet((1,), body, "note"))
                _, packet = gossip.recv("answer", 1)
                assert packet.versions == (1,)
                assert packet.note == "note"
                if body is None:
                    assert packet.body is None
                else:
                    assert torch.equal(packet.body, body)
            assert gossip.finish(PATIENCE_S) == frozenset()
            assert ours.poll(PATIENCE_S)
            unheard, counters = ours.recv()
            assert unheard == frozenset()
            assert not any(counters.values())
    finally:
        process.join(PATIENCE_S)
        process.kill()
        process.join()
        process.close()
        ours.close()
        theirs.close()
