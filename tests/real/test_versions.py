"""Learners of one version and one run find each other; all others are told why they do not."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import msgspec
import pytest
import zmq

from dualrt import __version__
from dualrt.core.effects import Packet
from dualrt.core.errors import UsageError
from dualrt.real.gossip import Gossip
from dualrt.real.wire import PROTOCOL, Credit, Hello, Refusal, Welcome, decode, encode
from tests.support.commands import await_

PATIENCE_S = 20.0


def learner(rank: int, run_id: str = "run", version: str = __version__) -> Gossip:
    return Gossip(rank, run_id=run_id, timeout_s=PATIENCE_S, max_body_bytes=1_000, version=version)


def refusals(a: Gossip, b: Gossip) -> list[str]:
    """What each is told when both greet each other."""
    addresses = {0: a.address, 1: b.address}

    def greet(one: Gossip) -> str:
        with pytest.raises(UsageError) as told:
            one.connect(addresses, greet=addresses)
        return str(told.value)

    with ThreadPoolExecutor(2) as threads:
        return list(threads.map(greet, (a, b)))


def test_two_versions_are_both_told_which_they_are() -> None:
    with learner(0, version="1.0") as a, learner(1, version="2.0") as b:
        for said in refusals(a, b):
            assert f"has dualrt 1.0 (protocol {PROTOCOL})" in said
            assert f"has dualrt 2.0 (protocol {PROTOCOL})" in said
            assert "install the same version on all hosts" in said
        # The other's greeting may come after its refusal of one's own.
        assert await_(lambda: a.counters["version"] >= 1)
        assert await_(lambda: b.counters["version"] >= 1)


def test_of_another_run_neither_is_told_the_name() -> None:
    with learner(0, "mine") as a, learner(1, "yours") as b:
        said = refusals(a, b)
        assert b.address in said[0]
        assert a.address in said[1]
        for words in said:
            assert "is of another run" in words
            assert "mine" not in words
            assert "yours" not in words
        # The other's greeting may come after its refusal of one's own.
        assert await_(lambda: a.counters["foreign"] >= 1)
        assert await_(lambda: b.counters["foreign"] >= 1)


@contextmanager
def stranger(address: str) -> Iterator[zmq.Socket[bytes]]:
    with zmq.Context() as context, context.socket(zmq.DEALER) as dealer:
        dealer.linger = 0
        dealer.rcvtimeo = round(1000 * PATIENCE_S)
        dealer.connect(address)
        yield dealer


def test_a_hello_of_a_protocol_to_come_is_refused_and_ends_nothing() -> None:
    with learner(0) as a, learner(1) as b:
        for one in (a, b):
            one.connect({0: a.address, 1: b.address})
        a.send(1, "t", Packet(note="before"))
        assert b.recv("t").packet.note == "before"
        ours = msgspec.msgpack.decode(encode(Hello("run", 0, 2**62, 1)))
        theirs = msgspec.msgpack.encode([*ours[:-2], PROTOCOL + 1, "9.9", "what is to come"])
        with stranger(b.address) as dealer:
            dealer.send(theirs)
            assert decode(dealer.recv()) == Refusal("run", 1, 0, False, PROTOCOL, __version__)
        a.send(1, "t", Packet(note="after"))
        assert b.recv("t").packet.note == "after"
        assert b.counters["version"] == 1
        assert b.counters["stale"] == 0


def test_a_refusal_once_the_peer_has_answered_loses_nobody() -> None:
    """Of a connection that somebody else had at the same port, say."""
    with zmq.Context() as context, context.socket(zmq.ROUTER) as peer, learner(0) as a:
        peer.linger, peer.rcvtimeo = 0, round(1000 * PATIENCE_S)
        peer.bind("tcp://127.0.0.1:*")
        a.connect({0: a.address, 1: peer.get_string(zmq.LAST_ENDPOINT)})
        a.send(1, "t", Packet(note="there"))
        route, hello = peer.recv_multipart()
        greeting = decode(hello)
        assert isinstance(greeting, Hello)
        assert greeting.release == (PROTOCOL, __version__)
        peer.send_multipart((route, encode(Welcome("run", 1, 1))))
        assert len(peer.recv_multipart()) == 2
        peer.send_multipart((route, encode(Refusal("run", 1, 0, False, 9, "9.9"))))
        # In the order that it came: the credit is heard after the refusal.
        peer.send_multipart((route, encode(Credit("run", 1, 1, 10_000))))
        a.send(1, "t", Packet(note="still there"))
        assert len(peer.recv_multipart()) == 2
        assert a.lost == frozenset()
