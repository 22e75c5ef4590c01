"""A chunk that is lost, damaged, repeated or late costs its own message and no other."""

from __future__ import annotations

import msgspec
import pytest
import torch
import xxhash

from dualrt.core.effects import Packet
from dualrt.real.drops import Drop, DroppedError
from dualrt.real.stream import Incoming, Outgoing, Positions
from dualrt.real.wire import (
    CHUNK_BYTES,
    Chunk,
    Frame,
    HostBodies,
    WireError,
    cost_bytes,
    decode,
    seal,
)

LIMIT_BYTES = 4 * CHUNK_BYTES
Shown = tuple[Chunk, bytes]


def frames(*notes: str, chunks: int = 3) -> list[list[Shown]]:
    """One list of chunks for each of these messages, as one stream sends them."""
    outgoing = Outgoing(Frame("run", 0, 1))
    body = torch.zeros(chunks * CHUNK_BYTES, dtype=torch.uint8)
    for note in notes:
        outgoing.add(seal("t", Packet(body=body, note=note), LIMIT_BYTES))
    shown: list[list[Shown]] = []
    while (parts := outgoing.next()) is not None:
        frame = decode(parts[0])
        assert isinstance(frame, Chunk)
        if frame.index == 0:
            shown.append([])
        shown[-1].append((frame, bytes(parts[1]) if len(parts) == 2 else b""))
    return shown


def arrivals(incoming: Incoming, shown: list[Shown]) -> list[object]:
    """The notes of the messages that these chunks complete; those of no use raise."""
    arrived = [incoming.accept(frame, data) for frame, data in shown]
    return [arrival.packet.note for arrival in arrived if arrival is not None]


def test_messages_arrive_whole_and_in_order() -> None:
    first, second = frames("first", "second")
    assert [len(first), len(second)] == [3, 3]
    assert arrivals(Incoming(LIMIT_BYTES, HostBodies(0)), first + second) == ["first", "second"]


def test_only_a_message_that_is_still_arriving_takes_room() -> None:
    (message,) = frames("only")
    incoming = Incoming(LIMIT_BYTES, HostBodies(0))
    arrivals(incoming, message[:2])
    assert incoming.settled_bytes == 0
    arrivals(incoming, message[2:])
    assert incoming.settled_bytes == cost_bytes(3 * CHUNK_BYTES)


def test_a_missing_beginning_costs_its_message_only() -> None:
    first, second = frames("first", "second")
    incoming = Incoming(LIMIT_BYTES, HostBodies(0))
    for frame, data in first[1:]:
        with pytest.raises(DroppedError, match=Drop.STRAY):
            incoming.accept(frame, data)
    assert arrivals(incoming, second) == ["second"]
    assert incoming.settled_bytes == 2 * cost_bytes(3 * CHUNK_BYTES)


def test_a_missing_end_costs_its_message_only() -> None:
    first, second = frames("first", "second")
    incoming = Incoming(LIMIT_BYTES, HostBodies(0))
    assert arrivals(incoming, first[:-1] + second) == ["second"]


def test_a_missing_middle_costs_its_message_only() -> None:
    first, second = frames("first", "second")
    incoming = Incoming(LIMIT_BYTES, HostBodies(0))
    arrivals(incoming, first[:1])
    with pytest.raises(WireError):
        incoming.accept(*first[2])
    assert incoming.settled_bytes == cost_bytes(3 * CHUNK_BYTES)
    assert arrivals(incoming, second) == ["second"]


def test_a_damaged_chunk_costs_its_message_only() -> None:
    first, second = frames("first", "second")
    incoming = Incoming(LIMIT_BYTES, HostBodies(0))
    arrivals(incoming, first[:2])
    with pytest.raises(DroppedError, match=Drop.CORRUPT):
        incoming.accept(first[2][0], b"\1" + first[2][1][1:])
    assert arrivals(incoming, second) == ["second"]


def test_a_message_that_comes_again_is_stale() -> None:
    first, second = frames("first", "second", chunks=1)
    incoming = Incoming(LIMIT_BYTES, HostBodies(0))
    arrivals(incoming, first + second)
    with pytest.raises(DroppedError, match=Drop.STALE):
        incoming.accept(*first[0])


def test_an_opening_that_is_refused_does_not_end_the_message_that_is_arriving() -> None:
    (message,) = frames("only")
    incoming = Incoming(LIMIT_BYTES, HostBodies(0))
    arrivals(incoming, message[:1])
    nonsense = Chunk("run", 0, 1, 2**40, 0, 0, b"nonsense")
    with pytest.raises(DroppedError, match=Drop.CORRUPT):
        incoming.accept(nonsense, b"")
    fitting = xxhash.xxh3_64_intdigest(b"", xxhash.xxh3_64_intdigest(nonsense.opening))
    with pytest.raises(WireError):
        incoming.accept(msgspec.structs.replace(nonsense, checksum=fitting), b"")
    assert arrivals(incoming, message[1:]) == ["only"]


def test_positions_go_on_over_connections_and_count_what_never_left() -> None:
    positions = Positions()
    first, second, third = (seal("t", Packet(note=note), LIMIT_BYTES) for note in range(3))
    before = Outgoing(Frame("run", 0, 1), positions=positions)
    before.add(first)
    before.clear()
    positions.take(second)
    after = Outgoing(Frame("run", 0, 1), positions=positions)
    after.add(third)
    parts = after.next()
    assert parts is not None
    frame = decode(parts[0])
    assert isinstance(frame, Chunk)
    assert frame.position == 2 * cost_bytes(0)
    incoming = Incoming(LIMIT_BYTES, HostBodies(0))
    assert arrivals(incoming, [(frame, b"")]) == [2]
    assert incoming.settled_bytes == 3 * cost_bytes(0)


def test_what_is_there_of_a_message_is_sent_before_the_rest_is() -> None:
    outgoing = Outgoing(Frame("run", 0, 1))
    body, memory = torch.arange(3 * CHUNK_BYTES).to(torch.uint8), bytearray(3 * CHUNK_BYTES)
    letter = seal("t", Packet(body=body), LIMIT_BYTES, memoryview(memory))
    outgoing.add(letter)
    outgoing.add(seal("t", Packet(note="next"), LIMIT_BYTES))
    growth = letter.growth
    assert growth is not None
    assert outgoing.next() is None
    sent: list[Shown] = []
    for there in (CHUNK_BYTES - 1, CHUNK_BYTES + 5, 3 * CHUNK_BYTES):
        memory[:there] = body[:there].numpy().tobytes()
        growth.nbytes = there
        while (parts := outgoing.next()) is not None:
            frame = decode(parts[0])
            assert isinstance(frame, Chunk)
            sent.append((frame, bytes(parts[1]) if len(parts) == 2 else b""))
        # In order: the next message waits for the end of this one.
        assert len(sent) == {CHUNK_BYTES - 1: 0, CHUNK_BYTES + 5: 1}.get(there, 4)
    incoming = Incoming(LIMIT_BYTES, HostBodies(0))
    whole, following = [one for one in (incoming.accept(*shown) for shown in sent) if one]
    assert torch.equal(whole.packet.body, body)
    assert following.packet.note == "next"


def test_a_message_that_is_given_up_on_the_way_costs_no_other() -> None:
    outgoing = Outgoing(Frame("run", 0, 1))
    body = torch.zeros(3 * CHUNK_BYTES, dtype=torch.uint8)
    letter = seal("t", Packet(body=body), LIMIT_BYTES, memoryview(bytearray(3 * CHUNK_BYTES)))
    outgoing.add(letter)
    outgoing.add(seal("t", Packet(note="why"), LIMIT_BYTES))
    assert letter.growth is not None
    letter.growth.nbytes = 2 * CHUNK_BYTES
    incoming = Incoming(LIMIT_BYTES, HostBodies(0))
    for _ in range(2):
        parts = outgoing.next()
        assert parts is not None
        frame = decode(parts[0])
        assert isinstance(frame, Chunk)
        assert incoming.accept(frame, bytes(parts[-1])) is None
    assert outgoing.next() is None
    letter.growth.given_up = True
    last = outgoing.next()
    assert last is not None
    frame = decode(last[0])
    assert isinstance(frame, Chunk)
    arrival = incoming.accept(frame, b"")
    assert arrival is not None
    assert arrival.packet.note == "why"


def test_a_body_that_is_on_its_way_has_the_form_of_the_whole() -> None:
    with pytest.raises(WireError, match="exceeds the limit"):
        seal("t", Packet(body=torch.zeros(9)), 35, memoryview(bytearray(36)))
    with pytest.raises(WireError, match="a body must be a torch tensor"):
        seal("t", Packet(body=3), 100, memoryview(bytearray(4)))
