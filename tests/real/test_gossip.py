"""Learners of one run exchange messages over the loopback, in one process and in two."""

from __future__ import annotations

import gc
import math
import multiprocessing
import os
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import Connection
from urllib.parse import urlsplit

import pytest
import torch
import zmq

from dualrt.core.effects import Packet
from dualrt.core.errors import RunError, StalledError, UsageError
from dualrt.real import sockets
from dualrt.real.gate import ClosedError
from dualrt.real.gossip import Gossip
from dualrt.real.wire import (
    CHUNK_BYTES,
    DTYPES,
    MAX_HEADER_BYTES,
    Bye,
    Chunk,
    Credit,
    Hello,
    Share,
    Slots,
    WireError,
    encode,
)
from tests.support import commands

MAX_BODY_BYTES = 32_000_000
PATIENCE_S = 20.0

both_ways = pytest.mark.parametrize("shares_memory", [True, False], ids=["ring", "tcp"])
"""Large bodies between learners of one host, through shared memory and through the socket."""


def learner(
    rank: int,
    *,
    run_id: str = "run",
    timeout_s: float = PATIENCE_S,
    max_body_bytes: int = MAX_BODY_BYTES,
    shares_memory: bool = True,
) -> Gossip:
    return Gossip(
        rank,
        run_id=run_id,
        timeout_s=timeout_s,
        max_body_bytes=max_body_bytes,
        shares_memory=shares_memory,
    )


@contextmanager
def team(
    learners: int,
    *,
    timeout_s: float = PATIENCE_S,
    max_body_bytes: int = MAX_BODY_BYTES,
    shares_memory: bool = True,
) -> Iterator[list[Gossip]]:
    """Learners that know each other, closed in the end."""
    members = [
        learner(
            rank, timeout_s=timeout_s, max_body_bytes=max_body_bytes, shares_memory=shares_memory
        )
        for rank in range(learners)
    ]
    try:
        for member in members:
            member.connect({other.rank: other.address for other in members})
        yield members
    finally:
        for member in members:
            member.close()


@contextmanager
def stranger(address: str) -> Iterator[Callable[..., object]]:
    """A bare DEALER at `address`: what it is given, it sends."""
    with zmq.Context() as context, context.socket(zmq.DEALER) as dealer:
        dealer.set(zmq.LINGER, 1000)
        dealer.connect(address)
        yield lambda *parts: dealer.send_multipart(parts)


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


def test_messages_to_a_learner_that_does_not_listen_yet_wait_for_it() -> None:
    early, late = learner(0), learner(1)
    with early, late:
        addresses = {0: early.address, 1: late.address}
        early.connect(addresses)
        for note in range(40):
            early.send(1, "t", Packet(note=note))
        with pytest.raises(StalledError):
            late.recv("t", timeout_s=0.1)
        late.connect(addresses)
        assert [late.recv("t").packet.note for _ in range(40)] == list(range(40))


def test_messages_to_a_learner_that_is_not_there_yet_wait_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"

    def bind_there(router: zmq.Socket[bytes], _: str, *__: object) -> str:
        router.bind(address)
        return address

    with learner(0) as early:
        addresses = {0: early.address, 1: address}
        early.connect(addresses)
        early.send(1, "t", Packet(note="early", body=torch.ones(1_000_000)))
        monkeypatch.setattr(sockets, "bind", bind_there)
        with learner(1) as late:
            late.connect(addresses)
            assert late.recv("t", 0).packet.note == "early"


def test_connect_waits_for_those_it_greets() -> None:
    early, late = learner(0), learner(1)
    with ThreadPoolExecutor(1) as pool, early, late:
        addresses = {0: early.address, 1: late.address}
        greeting = pool.submit(early.connect, addresses, greet=[0, 1])
        late.connect(addresses)
        greeting.result(PATIENCE_S)


def test_connect_names_those_who_do_not_answer() -> None:
    early, late = learner(0, timeout_s=0.2), learner(1)
    with early, late, pytest.raises(StalledError, match=r"learners \[1\]"):
        early.connect({0: early.address, 1: late.address}, greet=[1])


def test_a_hello_to_a_port_with_a_new_owner_is_not_answered() -> None:
    early, other = learner(0, timeout_s=0.2), learner(2)
    with early, other:
        other.connect({0: early.address, 2: other.address})
        with pytest.raises(StalledError, match=r"learners \[1\]"):
            early.connect({0: early.address, 1: other.address}, greet=[1])
        assert commands.await_(lambda: other.counters["unknown"] > 0)


def test_learners_of_another_run_are_ignored() -> None:
    with team(2) as (a, b), learner(1, run_id="other") as foreign:
        with pytest.raises(UsageError, match="of another run"):
            foreign.connect({0: a.address}, greet=[0])
        assert commands.await_(lambda: a.counters["foreign"] > 0)
        b.send(0, "t", Packet(note="ours"))
        assert a.recv("t").packet.note == "ours"


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


def test_what_a_stranger_sends_is_counted_and_harms_nothing() -> None:
    body = torch.rand(3 * CHUNK_BYTES // 4)
    with team(2) as (a, b), stranger(b.address) as say:
        a.send(1, "t", Packet(note="before"))
        assert b.recv("t").packet.note == "before"
        malformed = [
            (b"",),
            (b"\xff" * 10,),
            (b"\x91" * 60_000,),
            (b"x" * (MAX_HEADER_BYTES + 1),),
            (encode(Bye("run", 0, 0)), b"", b""),
            (encode(Credit("run", 0, 2**62, 0)),),
            (encode(Slots("run", 0, 2**62, b"", 0)),),
        ]
        for parts in malformed:
            say(*parts)
        say(encode(Hello("other", 0, 1, 1)))
        say(encode(Hello("run", 9, 1, 1)))
        say(encode(Hello("run", 0, 1, 1)))
        say(encode(Chunk("run", 0, 2**62, 0, 5, 0)), b"stray")
        say(encode(Share("run", 0, 2**62, os.getpid(), 0, bytes(16), 0)))
        say(encode(Chunk("run", 0, 2**62, 0, 5, 0, b"", 3, 2**62)))
        assert commands.await_(lambda: b.counters["stray"] == 1)
        assert b.counters == {
            "malformed": len(malformed),
            "foreign": 1,
            "version": 0,
            "unknown": 1,
            "stale": 1,
            "corrupt": 1,
            "stray": 1,
            "unshared": 1,
            "refused": 0,
            "unreachable": 0,
        }
        b.send(0, "t", Packet(body=body))
        assert torch.equal(a.recv("t").packet.body, body)


def test_a_frame_beyond_every_limit_costs_the_stranger_its_connection() -> None:
    with team(2) as (a, b):
        with stranger(b.address) as say:
            say(b"x" * (4 * CHUNK_BYTES))
        a.send(1, "t", Packet(note="after"))
        assert b.recv("t").packet.note == "after"
        assert not any(b.counters.values())


def test_a_new_incarnation_is_heard_and_the_old_one_no_more() -> None:
    with team(2) as (a, b):
        a.send(1, "t", Packet(note="old"))
        assert b.recv("t").packet.note == "old"
        with learner(0) as again:
            again.connect({0: again.address, 1: b.address})
            again.send(1, "t", Packet(note="new"))
            assert b.recv("t").packet.note == "new"
            a.send(1, "t", Packet(note="ghost"))
            assert commands.await_(lambda: b.counters["stale"] > 0)
            again.send(1, "t", Packet(note="newer"))
            assert b.recv("t").packet.note == "newer"


def test_finish_goes_on_answering_until_everyone_has_finished() -> None:
    def answer(member: Gossip) -> int:
        answered = 0
        while True:
            try:
                sender, packet = member.recv("ask", timeout_s=math.inf)
            except ClosedError:
                return answered
            member.send(sender, "answer", packet)
            answered += 1

    with ThreadPoolExecutor(6) as pool, team(3) as members:
        daemons = [pool.submit(answer, member) for member in members]
        slow, *fast = members
        finishing = [pool.submit(member.finish, PATIENCE_S) for member in fast]
        for note in range(20):
            for peer in (1, 2):
                slow.send(peer, "ask", Packet(note=note))
                assert slow.recv("answer", peer).packet.note == note
        assert not any(done.done() for done in finishing)
        assert slow.finish(PATIENCE_S) == frozenset()
        assert [done.result(PATIENCE_S) for done in finishing] == [frozenset(), frozenset()]
        for member in members:
            assert member.await_quiet(1, PATIENCE_S)
            member.close()
        assert [daemon.result(PATIENCE_S) for daemon in daemons] == [0, 20, 20]


@both_ways
def test_what_was_sent_before_the_goodbye_has_arrived_with_it(shares_memory: bool) -> None:
    with ThreadPoolExecutor(1) as pool, team(2, shares_memory=shares_memory) as (a, b):
        for _ in range(2):
            a.send(1, "last", Packet(body=torch.ones(5_000_000)))
        finishing = pool.submit(a.finish, PATIENCE_S)
        assert b.finish(PATIENCE_S) == frozenset()
        for _ in range(2):
            assert b.recv("last", timeout_s=0).packet.body.sum() == 5_000_000
        assert finishing.result(PATIENCE_S) == frozenset()


def test_finish_names_those_who_never_said_goodbye() -> None:
    with ThreadPoolExecutor(1) as pool, team(3) as (a, b, _):
        other = pool.submit(b.finish, 0.3)
        assert a.finish(0.3) == {2}
        assert other.result(PATIENCE_S) == {2}


def test_close_ends_all_waits_and_is_idempotent() -> None:
    body = torch.zeros(1000, dtype=torch.uint8)
    with ThreadPoolExecutor(4) as pool, team(2, timeout_s=60, max_body_bytes=1000) as (a, b):

        def flood() -> None:
            while True:
                a.send(1, "t", Packet(body=body))

        waits: list[Future[object]] = [
            pool.submit(a.recv, "t", None, math.inf),
            pool.submit(a.recv, "t", 1),
            pool.submit(a.finish, 60),
            pool.submit(flood),
        ]
        b.recv("t")
        a.close()
        a.close()
        for wait in waits:
            with pytest.raises(ClosedError):
                wait.result(PATIENCE_S)
        with pytest.raises(ClosedError):
            a.send(1, "t", Packet())


def test_stop_waiting_ends_all_waits_with_the_given_error() -> None:
    with team(2) as (a, b):
        a.stop_waiting(RunError("a strand failed"))
        with pytest.raises(RunError, match="a strand failed"):
            a.recv("t", timeout_s=math.inf)
        with pytest.raises(RunError, match="a strand failed"):
            a.send(1, "t", Packet())
        with pytest.raises(StalledError):
            b.recv("t", timeout_s=0)


def test_close_frees_the_port_and_leaves_no_thread() -> None:
    with team(2) as (a, b):
        address = a.address
        a.send(1, "t", Packet(note=1))
        b.recv("t")
        names = {thread.name for thread in threading.enumerate()}
        assert {"gossip-0", "gossip-1"} <= names
    names = {thread.name for thread in threading.enumerate()}
    assert not names & {"gossip-0", "gossip-1"}
    with zmq.Context() as context, context.socket(zmq.ROUTER) as router:
        router.bind(address)


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


def test_an_error_in_the_thread_reaches_everyone_who_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fetch = sockets.fetch

    def break_down(dealer_or_router: zmq.Socket[bytes]) -> list[memoryview] | None:
        if threading.current_thread().name == "gossip-0":
            raise OSError("the wire is cut")
        return fetch(dealer_or_router)

    with ThreadPoolExecutor(2) as pool, team(2) as (a, b):
        waits: list[Future[object]] = [
            pool.submit(a.recv, "t", None, math.inf),
            pool.submit(a.finish, 60),
        ]
        monkeypatch.setattr(sockets, "fetch", break_down)
        b.send(0, "t", Packet())
        for wait in waits:
            with pytest.raises(RunError, match="learner 0 failed: OSError: the wire is cut"):
                wait.result(PATIENCE_S)
        with pytest.raises(RunError, match="the wire is cut"):
            a.send(1, "t", Packet())
        a.close()


def test_the_address_is_that_of_the_interface() -> None:
    with Gossip(0, run_id="run", timeout_s=5, interface="lo", max_body_bytes=0) as named:
        parts = urlsplit(named.address)
        assert (parts.scheme, parts.hostname) == ("tcp", "127.0.0.1")
        assert parts.port


@pytest.mark.parametrize("interface", ["no-such-interface", "203.0.113.1", "0.0.0.0", "*"])
def test_an_interface_that_cannot_be_bound_is_a_usage_error(interface: str) -> None:
    with pytest.raises(UsageError, match="name an address or a network interface"):
        Gossip(0, run_id="run", timeout_s=5, interface=interface, max_body_bytes=0)


@pytest.mark.parametrize("address", ["127.0.0.1:80", "tcp://127.0.0.1", "ipc:///tmp/x", ""])
def test_what_is_no_address_is_a_usage_error(address: str) -> None:
    with learner(0) as a, pytest.raises(UsageError, match="write tcp://ip:port"):
        a.connect({1: address})


def test_a_peer_that_is_not_in_the_run_is_a_usage_error() -> None:
    with team(2) as (a, _), pytest.raises(UsageError, match="no learner 5"):
        a.send(5, "t", Packet())


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
