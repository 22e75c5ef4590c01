"""How gossip ends: once everybody has finished, at a word, or by an error."""

from __future__ import annotations

import math
import threading
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
import torch
import zmq

from dualrt.core.effects import Packet
from dualrt.core.errors import RunError, StalledError
from dualrt.real import sockets
from dualrt.real.gate import ClosedError
from dualrt.real.gossip import Gossip
from tests.support.gossips import PATIENCE_S, both_ways, team


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


@both_ways
def test_a_last_word_is_heard_however_much_is_on_its_way_before_it(shares_memory: bool) -> None:
    with team(2, shares_memory=shares_memory) as (a, b):
        a.send(1, "t", Packet(note="the way is open"))
        assert b.recv("t", 0).packet.note == "the way is open"
        a.send(1, "t", Packet(body=torch.ones(5_000_000)))
        a.send(1, "t", Packet(body=torch.ones(5_000_000)))
        a.say_last("end", Packet(note="why"))
        a.close()
        assert b.recv("end", 0).packet.note == "why"


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
