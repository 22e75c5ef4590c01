"""Learners of one host share memory: when they do, when they do not, and when one of them dies."""

from __future__ import annotations

import multiprocessing
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
import torch
import zmq
from hypothesis import given, settings
from hypothesis import strategies as st

from dualrt.core.effects import Packet
from dualrt.real import session, sockets
from dualrt.real.gossip import Gossip
from dualrt.real.rendezvous import Launch
from dualrt.real.ring import SLOT_BYTES, SLOTS, RingWriter
from dualrt.real.session import Session, Terms
from dualrt.real.wire import AnyFrame, Chunk, Hello, Share, Slots, Welcome, decode, encode, seal
from dualrt.real.wire import chunks as cut
from tests.support.gossips import MAX_BODY_BYTES, PATIENCE_S, learner

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs memfd")

BODY = torch.arange(3 * SLOTS * SLOT_BYTES // 8, dtype=torch.int32)
"""More than the slots hold."""


def introduce(*members: Gossip) -> None:
    for member in members:
        member.connect({other.rank: other.address for other in members})


@pytest.fixture
def beside(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of what goes through sockets beside headers, of any learner of this process."""
    sizes: list[int] = []
    offer = sockets.offer

    def watched(socket: zmq.Socket[bytes], parts: tuple[bytes]) -> bool:
        taken = offer(socket, parts)
        if taken:
            sizes.extend(map(len, parts[1:]))
        return taken

    monkeypatch.setattr(sockets, "offer", watched)
    return sizes


def exchange(a: Gossip, b: Gossip, body: torch.Tensor) -> bool:
    """Send a body from a to b; whether it arrived as it was."""
    a.send(b.rank, "t", Packet(body=body))
    return torch.equal(b.recv("t", a.rank).packet.body, body)


def until_it_is_shared(a: Gossip, b: Gossip, beside: list[int]) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while True:
        beside.clear()
        assert exchange(a, b, BODY)
        if not beside:
            return
        assert time.monotonic() < deadline_s


def maps_here() -> int:
    return Path("/proc/self/maps").read_text().count("dualrt-ring")


def files_here() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_bodies_between_learners_of_a_host_leave_the_socket(beside: list[int]) -> None:
    with learner(0) as a, learner(1) as b:
        introduce(a, b)
        until_it_is_shared(a, b, beside)
        until_it_is_shared(b, a, beside)
        assert not any(a.counters.values())
        assert not any(b.counters.values())


@pytest.mark.parametrize("sharing", [(True, False), (False, True), (False, False)])
def test_both_must_be_willing(beside: list[int], sharing: tuple[bool, bool]) -> None:
    with learner(0, shares_memory=sharing[0]) as a, learner(1, shares_memory=sharing[1]) as b:
        introduce(a, b)
        for _ in range(3):
            assert exchange(a, b, BODY)
        assert sum(beside) == 3 * BODY.nbytes
        assert not any(b.counters.values())
        assert maps_here() == 0


def test_nothing_is_left_when_learners_close(beside: list[int]) -> None:
    with learner(0) as a, learner(1) as b:
        introduce(a, b)
        until_it_is_shared(a, b, beside)
    files = files_here()
    for _ in range(3):
        with learner(0) as a, learner(1) as b:
            introduce(a, b)
            until_it_is_shared(a, b, beside)
            assert maps_here() > 0
        assert maps_here() == 0
    assert files_here() <= files


def test_a_new_incarnation_of_the_sender_shares_memory_of_its_own(beside: list[int]) -> None:
    with learner(0) as a, learner(1) as b:
        introduce(a, b)
        until_it_is_shared(a, b, beside)
        maps = maps_here()
        with learner(0) as again:
            again.connect({0: again.address, 1: b.address})
            until_it_is_shared(again, b, beside)
            # The old one's end, the new one's, and b's one view.
            assert maps_here() == maps + 1
        # The old one lives, and may offer its memory once more.
        assert {reason for reason, count in b.counters.items() if count} <= {"stale"}


def test_a_receiver_that_is_started_again_is_offered_the_memory_again(
    beside: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = threading.Event()
    with learner(0, timeout_s=1.0) as a:
        a.watch(lambda _, why: found.set() if why is None else None)
        with learner(1) as b:
            introduce(a, b)
            until_it_is_shared(a, b, beside)
            address = b.address

        def bind_there(router: zmq.Socket[bytes], _: str, *__: object) -> str:
            router.bind(address)
            return address

        monkeypatch.setattr(sockets, "bind", bind_there)
        with learner(1) as again:
            again.connect({0: a.address, 1: address})
            # Lost: its chunks are in slots of which the new receiver does not know yet.
            a.send(1, "t", Packet(body=BODY))
            # As is all that it is given until it notices.
            assert found.wait(PATIENCE_S)
            until_it_is_shared(a, again, beside)


def pour(pipe: Connection) -> None:
    """What a second process does until it is killed."""
    with learner(1) as gossip:
        pipe.send(gossip.address)
        gossip.connect({0: pipe.recv(), 1: gossip.address}, greet=[0])
        while True:
            gossip.send(0, "t", Packet(body=BODY))


def test_a_sender_that_is_killed_in_the_middle_leaves_nothing_behind(beside: list[int]) -> None:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=pour, args=(theirs,), daemon=True)
    process.start()
    try:
        with learner(0) as a, learner(2) as c:
            assert ours.poll(60)
            address = ours.recv()
            ours.send(a.address)
            a.connect({0: a.address, 1: address, 2: c.address})
            c.connect({0: a.address, 2: c.address})
            for _ in range(3):
                assert torch.equal(a.recv("t", 1).packet.body, BODY)
            assert maps_here() == 1
            process.kill()
            process.join()
            until_it_is_shared(c, a, beside)
            with learner(1) as again:
                again.connect({0: a.address, 1: again.address})
                # What its dead self had sent as a whole comes first.
                again.send(0, "new", Packet(body=BODY))
                assert torch.equal(a.recv("new", 1).packet.body, BODY)
            assert a.counters["corrupt"] == 0
        assert maps_here() == 0
    finally:
        process.kill()
        process.join()
        process.close()
        ours.close()
        theirs.close()


@pytest.mark.parametrize("shared_memory", [True, False])
def test_a_scenario_says_whether_memory_is_shared(
    shared_memory: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: dict[str, Any] = {}

    def gossip(rank: int, **settings: Any) -> Gossip:
        made.update(settings)
        return Gossip(rank, **settings)

    monkeypatch.setattr(session, "Gossip", gossip)
    terms = Terms(PATIENCE_S, "127.0.0.1", shared_memory, torch.device("cpu"))
    with Session(Launch(0, 1, 0, 1), terms, groups=(), body_bytes=0):
        assert made["shares_memory"] is shared_memory


class Stranger:
    """A learner's end made by hand: it says what it likes and hears what is replied."""

    def __init__(self, address: str, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        self._dealer = context.socket(zmq.DEALER)
        self._dealer.set(zmq.LINGER, 0)
        self._dealer.set(zmq.RCVTIMEO, round(1000 * PATIENCE_S))
        self._dealer.connect(address)

    def say(self, *parts: bytes) -> None:
        self._dealer.send_multipart(parts)

    def hears(self) -> AnyFrame:
        return decode(self._dealer.recv())

    def is_up_to_date(self) -> None:
        """All that was said before was heard; frames keep their order."""
        self.say(encode(Hello("run", 0, 2**62, 1)))
        while not isinstance(self.hears(), Welcome):
            pass


@contextmanager
def stranger_at(b: Gossip) -> Iterator[Stranger]:
    with zmq.Context() as context:
        stranger = Stranger(b.address, context)
        try:
            yield stranger
        finally:
            context.destroy(linger=0)


def test_memory_that_is_no_ring_is_counted_and_refused() -> None:
    with learner(0) as a, learner(1) as b, stranger_at(b) as stranger:
        introduce(a, b)
        for count, (pid, fd) in enumerate([(1, 2**63), (2**63, 0), (0, 0)], start=1):
            stranger.say(encode(Share("run", 0, 2**62, pid, fd, b"nonce", 0)))
            reply = stranger.hears()
            assert isinstance(reply, Slots)
            assert reply.freed is None
            assert b.counters["unshared"] == count


places = st.integers(0, 3 * SLOTS) | st.integers(0, 2**64 - 1)
sizes = st.integers(0, 2 * SLOT_BYTES) | st.integers(0, 2**64 - 1)
scraps = st.tuples(places, sizes, st.sampled_from([b"", b"beside"]))


def test_chunks_of_any_slot_harm_nothing() -> None:
    """What a peer says of its slots is checked; then a message of good ones arrives."""
    body = torch.arange(SLOT_BYTES // 4, dtype=torch.int32)

    def fuzz(b: Gossip, stranger: Stranger) -> Callable[[], None]:
        @settings(max_examples=25)
        @given(st.lists(scraps, max_size=20), st.integers(0, 2**63))
        def shown(said: list[tuple[int, int, bytes]], written: int) -> None:
            with closing(RingWriter()) as ring:
                share = Share("run", 0, 2**62, ring.pid, ring.fd, ring.nonce, written)
                stranger.say(encode(share))
                for slot, nbytes, data in said:
                    chunk = Chunk("run", 0, 2**62, 0, 0, 0, b"", slot, nbytes)
                    stranger.say(encode(chunk), *filter(None, [data]))
                stranger.is_up_to_date()

        return shown

    with learner(0) as a, learner(1) as b, stranger_at(b) as stranger:
        introduce(a, b)
        fuzz(b, stranger)()
        assert b.counters["unshared"] == b.counters["foreign"] == b.counters["unknown"] == 0
        with closing(RingWriter()) as ring:
            stranger.say(encode(Share("run", 0, 2**62, ring.pid, ring.fd, ring.nonce, 0)))
            letter = seal("t", Packet(body=body), MAX_BODY_BYTES)
            origin = Hello("run", 0, 2**62, 1)
            for parts in cut(letter, origin, 0, ring.write):
                assert parts is not None
                assert len(parts) == 1
                stranger.say(parts[0])
            assert torch.equal(b.recv("t", 0).packet.body, body)
