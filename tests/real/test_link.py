"""What a link sends, in which order, and which bytes of it go through shared memory."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from typing import cast

import pytest
import torch
import zmq

from dualrt.core.effects import Packet
from dualrt.real import link as module
from dualrt.real import sockets
from dualrt.real.line import Line
from dualrt.real.link import SHARED_LEAST_BYTES, Link
from dualrt.real.ring import SLOTS, RingError, RingReader
from dualrt.real.tcp import Progress
from dualrt.real.wire import (
    CHUNK_BYTES,
    AnyFrame,
    Bye,
    Chunk,
    Frame,
    Hello,
    Parts,
    Share,
    Slots,
    decode,
    encode,
    seal,
)

LIMIT_BYTES = 4 * SLOTS * CHUNK_BYTES
PATIENCE_S = 3.0
linux = pytest.mark.skipif(sys.platform != "linux", reason="needs memfd")


class Wire:
    """Takes the place of a socket: keeps what a link sends, while there is room."""

    def __init__(self) -> None:
        self.sent: list[Parts] = []
        self.room = True

    def offer(self, _: object, parts: Parts) -> bool:
        if self.room:
            self.sent.append(parts)
        return self.room

    def take(self) -> list[tuple[AnyFrame, int]]:
        """The frames that were sent since, each with the size of what came beside it."""
        sent, self.sent = self.sent, []
        return [(decode(parts[0]), sum(map(len, parts[1:]))) for parts in sent]


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> Wire:
    wire = Wire()
    monkeypatch.setattr(sockets, "offer", wire.offer)
    return wire


def made(peer: int = 5, *, shares: bool = True, line: Line | None = None) -> Link:
    dealer = cast("zmq.Socket[bytes]", object())
    link = Link(dealer, Frame("run", 0, 1), peer, patience_s=PATIENCE_S, shares=shares, line=line)
    link.ready = True
    return link


@pytest.fixture
def link() -> Iterator[Link]:
    link = made()
    yield link
    link.unshare()


def add(link: Link, nbytes: int, note: object = None, round_: int | None = None) -> None:
    body = torch.zeros(nbytes, dtype=torch.uint8)
    link.add(seal("t", Packet(body=body, note=note), LIMIT_BYTES), round_)


def push(link: Link, now_s: float = 0.0) -> None:
    """As often as the courier would."""
    while link.push(now_s):
        pass


def slots(nonce: bytes, freed: int | None) -> Slots:
    return Slots("run", 5, 1, nonce, freed)


def shared(link: Link, wire: Wire) -> Share:
    """Have the peer take the ring."""
    add(link, CHUNK_BYTES)
    push(link)
    first, second = (frame for frame, _ in wire.take())
    assert isinstance(first, Chunk)
    assert isinstance(second, Share)
    link.hear_slots(slots(second.nonce, 0))
    return second


def slots_of(frames: list[tuple[AnyFrame, int]]) -> list[int | None]:
    return [frame.slot for frame, _ in frames if isinstance(frame, Chunk)]


def test_nothing_but_a_hello_is_sent_before_it_is_answered(wire: Wire, link: Link) -> None:
    link.ready = False
    add(link, 10)
    for now_s, hellos in [(1.0, 1), (1.0 + PATIENCE_S / 2, 0), (1.0 + PATIENCE_S, 1)]:
        push(link, now_s)
        assert [frame for frame, _ in wire.take()] == [Hello("run", 0, 1, 5)] * hellos
    assert link.due_s == 1.0 + 2 * PATIENCE_S
    link.ready = True
    push(link, 9.0)
    assert [type(frame) for frame, _ in wire.take()] == [Chunk]
    assert link.due_s == math.inf


def test_a_frame_that_finds_no_room_is_sent_once_there_is(wire: Wire, link: Link) -> None:
    add(link, 10, note=1)
    add(link, 10, note=2)
    wire.room = False
    assert link.push(0.0)
    assert link.push(0.0)
    wire.room = True
    assert not link.push(0.0)
    positions = [frame.position for frame, _ in wire.take() if isinstance(frame, Chunk)]
    assert positions == [0, 10 + 1024]


@linux
def test_bytes_go_beside_their_headers_until_the_peer_has_the_ring(wire: Wire, link: Link) -> None:
    add(link, 3 * CHUNK_BYTES)
    push(link)
    frames = wire.take()
    assert [type(frame) for frame, _ in frames] == [Chunk, Share, Chunk, Chunk]
    assert [nbytes for _, nbytes in frames] == [CHUNK_BYTES, 0, CHUNK_BYTES, CHUNK_BYTES]
    share = frames[1][0]
    assert isinstance(share, Share)
    link.hear_slots(slots(share.nonce, 0))
    add(link, 3 * CHUNK_BYTES)
    push(link)
    frames = wire.take()
    assert slots_of(frames) == [0, 1, 2]
    assert not any(nbytes for _, nbytes in frames)


@linux
def test_what_is_in_the_slots_is_the_body(wire: Wire, link: Link) -> None:
    share = shared(link, wire)
    reader = RingReader(share.pid, share.fd, share.nonce, share.written)
    body = torch.arange(SHARED_LEAST_BYTES + CHUNK_BYTES).to(torch.uint8)
    link.add(seal("t", Packet(body=body), LIMIT_BYTES))
    push(link)
    read = b"".join(
        bytes(reader.read(frame.slot, frame.nbytes))
        for frame, _ in wire.take()
        if isinstance(frame, Chunk) and frame.slot is not None
    )
    assert read == body.numpy().tobytes()
    reader.close()


@linux
def test_small_bodies_share_no_memory(wire: Wire, link: Link) -> None:
    add(link, SHARED_LEAST_BYTES - 1)
    push(link)
    assert slots_of(wire.take()) == [None]
    shared(link, wire)
    add(link, SHARED_LEAST_BYTES - 1)
    add(link, SHARED_LEAST_BYTES)
    push(link)
    assert slots_of(wire.take()) == [None, 0]


@linux
def test_a_sender_with_no_free_slot_waits_for_one(wire: Wire, link: Link) -> None:
    share = shared(link, wire)
    add(link, (SLOTS + 5) * CHUNK_BYTES)
    push(link, 1.0)
    assert slots_of(wire.take()) == list(range(SLOTS))
    assert link.due_s == 1.0 + PATIENCE_S
    link.hear_slots(slots(share.nonce, 4))
    push(link, 1.1)
    assert slots_of(wire.take()) == list(range(SLOTS, SLOTS + 4))
    link.hear_slots(slots(share.nonce, 8))
    push(link, 1.2)
    assert slots_of(wire.take()) == [SLOTS + 4]
    assert link.due_s == math.inf


@linux
def test_a_ring_that_stays_full_is_offered_again(wire: Wire, link: Link) -> None:
    """Frames were lost, or the peer was started again."""
    share = shared(link, wire)
    add(link, (SLOTS + 1) * CHUNK_BYTES)
    push(link, 1.0)
    wire.take()
    push(link, 1.0 + PATIENCE_S / 2)
    assert wire.take() == []
    push(link, 1.0 + PATIENCE_S)
    (again, _), *more = wire.take()
    assert isinstance(again, Share)
    assert (again.fd, again.nonce, again.written) == (share.fd, share.nonce, SLOTS)
    assert more == []
    link.hear_slots(slots(share.nonce, SLOTS))
    push(link, 9.0)
    assert slots_of(wire.take()) == [SLOTS]


@linux
def test_an_offer_without_an_answer_stops_nothing(wire: Wire, link: Link) -> None:
    add(link, SLOTS * CHUNK_BYTES)
    push(link, 0.0)
    add(link, SLOTS * CHUNK_BYTES)
    push(link, PATIENCE_S)
    frames = wire.take()
    assert sum(isinstance(frame, Share) for frame, _ in frames) == 2
    assert slots_of(frames) == [None] * (2 * SLOTS)


@linux
@pytest.mark.parametrize("full", [False, True])
def test_a_refusal_ends_the_sharing_and_nothing_else(wire: Wire, link: Link, full: bool) -> None:
    share = shared(link, wire)
    if full:
        add(link, (SLOTS + 1) * CHUNK_BYTES)
        push(link)
        wire.take()
    link.hear_slots(slots(share.nonce, None))
    with pytest.raises(RingError):
        RingReader(share.pid, share.fd, share.nonce, 0)
    add(link, CHUNK_BYTES)
    push(link)
    frames = wire.take()
    assert set(slots_of(frames)) == {None}
    assert {type(frame) for frame, _ in frames} == {Chunk}


@linux
def test_slots_of_another_ring_free_nothing(wire: Wire, link: Link) -> None:
    shared(link, wire)
    add(link, (SLOTS + 1) * CHUNK_BYTES)
    push(link)
    wire.take()
    for freed in (None, 0, SLOTS, 2**60):
        link.hear_slots(slots(b"another", freed))
    push(link)
    assert wire.take() == []


@linux
def test_a_goodbye_comes_after_what_is_in_the_slots(wire: Wire, link: Link) -> None:
    share = shared(link, wire)
    add(link, (SLOTS + 1) * CHUNK_BYTES)
    link.add_frames(iter([(encode(Bye("run", 0, 1)),)]))
    push(link)
    assert slots_of(wire.take()) == list(range(SLOTS))
    link.hear_slots(slots(share.nonce, 4))
    push(link)
    assert [type(frame) for frame, _ in wire.take()] == [Chunk, Bye]


def test_memory_is_not_offered_where_it_is_not_to_be_shared(wire: Wire) -> None:
    link = made(shares=False)
    add(link, 2 * CHUNK_BYTES)
    push(link)
    frames = wire.take()
    assert {type(frame) for frame, _ in frames} == {Chunk}
    assert slots_of(frames) == [None, None]
    link.hear_slots(slots(b"unasked", 0))


def test_where_there_is_no_such_memory_bytes_go_beside(
    wire: Wire, link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none() -> None:
        raise RingError("none here")

    monkeypatch.setattr(module, "RingWriter", none)
    add(link, 2 * CHUNK_BYTES)
    push(link)
    assert slots_of(wire.take()) == [None, None]


class TestRounds:
    @pytest.fixture
    def acked_bytes(self) -> dict[int, int]:
        return {5: 0, 6: 0}

    @pytest.fixture
    def line(self, acked_bytes: dict[int, int]) -> Line:
        return Line(lambda peer: Progress(acked_bytes[peer], 0, 0.0, 0.0), lambda: 1.0)

    def test_what_is_of_a_later_round_leaves_when_the_earlier_ones_are_through(
        self, wire: Wire, line: Line, acked_bytes: dict[int, int]
    ) -> None:
        links = made(5, shares=False, line=line), made(6, shares=False, line=line)
        for round_, link in enumerate(links):
            add(link, 1000, round_=round_)
        # What is sent on the same connection stays in order.
        add(links[1], 10)
        line.look()
        for link in links:
            push(link)
        assert [beside for _, beside in wire.take()] == [1000]
        acked_bytes[5] = 1000
        line.due_s = 0.0
        line.look()
        push(links[1])
        assert [beside for _, beside in wire.take()] == [1000, 10]

    def test_what_is_of_no_round_waits_for_none(self, wire: Wire, line: Line) -> None:
        links = made(5, shares=False, line=line), made(6, shares=False, line=line)
        add(links[0], 1000, round_=0)
        add(links[1], 10)
        line.look()
        push(links[1])
        assert [beside for _, beside in wire.take()] == [10]

    @pytest.fixture
    def links(self, line: Line) -> list[Link]:
        """Of 5 a body of round 0 has begun, one of round 1 for 6 waits."""
        links = [made(peer, shares=False, line=line) for peer in (5, 6)]
        for round_, link in enumerate(links):
            add(link, 1000, round_=round_)
        line.look()
        return links

    def test_what_is_under_way_is_lost_with_its_connection_and_holds_up_nobody(
        self, wire: Wire, line: Line, links: list[Link]
    ) -> None:
        links[0].renew()
        line.look()
        push(links[1])
        assert [beside for _, beside in wire.take()] == [1000]

    def test_so_is_what_waits(self, wire: Wire, line: Line, links: list[Link]) -> None:
        links[1].renew()
        add(links[0], 500, round_=2)
        line.look()
        for link in links:
            link.ready = True
            push(link)
        assert [beside for _, beside in wire.take()] == [1000]
        add(links[1], 10)
        push(links[1])
        assert [beside for _, beside in wire.take()] == [10]

    def test_at_the_end_what_waits_is_not_sent_and_nothing_waits_behind_it(
        self, wire: Wire, line: Line, links: list[Link]
    ) -> None:
        add(links[1], 10)
        line.end()
        push(links[1])
        assert [beside for _, beside in wire.take()] == [10]

    def test_a_body_that_is_given_up_holds_up_nobody(self, wire: Wire, line: Line) -> None:
        links = [made(peer, shares=False, line=line) for peer in (5, 6)]
        body = torch.zeros(3 * CHUNK_BYTES, dtype=torch.uint8)
        letter = seal("t", Packet(body=body), LIMIT_BYTES, memoryview(bytearray(body.nbytes)))
        assert letter.growth is not None
        letter.growth.nbytes = CHUNK_BYTES
        links[0].add(letter, 0)
        add(links[1], 1000, round_=1)
        line.look()
        for link in links:
            push(link)
        assert [beside for _, beside in wire.take()] == [CHUNK_BYTES]
        letter.growth.given_up = True
        push(links[0])
        line.due_s = 0.0
        line.look()
        push(links[1])
        assert [beside for _, beside in wire.take()] == [1000]
