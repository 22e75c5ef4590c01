"""A chunk that is lost, damaged, repeated or late costs its own message and no other."""

from __future__ import annotations

import msgspec
import pytest
import torch
import xxhash

from dualrt.core.effects import Packet
from dualrt.core.pool import Pool
from dualrt.real.stream import Drop, DroppedError, Incoming, Outgoing
from dualrt.real.wire import CHUNK_BYTES, Chunk, Frame, WireError, cost_bytes, decode, seal

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
    assert arrivals(Incoming(LIMIT_BYTES, Pool(0)), first + second) == ["first", "second"]


def test_only_a_message_that_is_still_arriving_takes_room() -> None:
    (message,) = frames("only")
    incoming = Incoming(LIMIT_BYTES, Pool(0))
    arrivals(incoming, message[:2])
    assert incoming.settled_bytes == 0
    arrivals(incoming, message[2:])
    assert incoming.settled_bytes == cost_bytes(3 * CHUNK_BYTES)


def test_a_missing_beginning_costs_its_message_only() -> None:
    first, second = frames("first", "second")
    incoming = Incoming(LIMIT_BYTES, Pool(0))
    for frame, data in first[1:]:
        with pytest.raises(DroppedError, match=Drop.STRAY):
            incoming.accept(frame, data)
    assert arrivals(incoming, second) == ["second"]
    assert incoming.settled_bytes == 2 * cost_bytes(3 * CHUNK_BYTES)


def test_a_missing_end_costs_its_message_only() -> None:
    first, second = frames("first", "second")
    incoming = Incoming(LIMIT_BYTES, Pool(0))
    assert arrivals(incoming, first[:-1] + second) == ["second"]


def test_a_missing_middle_costs_its_message_only() -> None:
    first, second = frames("first", "second")
    incoming = Incoming(LIMIT_BYTES, Pool(0))
    arrivals(incoming, first[:1])
    with pytest.raises(WireError):
        incoming.accept(*first[2])
    assert incoming.settled_bytes == cost_bytes(3 * CHUNK_BYTES)
    assert arrivals(incoming, second) == ["second"]


def test_a_damaged_chunk_costs_its_message_only() -> None:
    first, second = frames("first", "second")
    incoming = Incoming(LIMIT_BYTES, Pool(0))
    arrivals(incoming, first[:2])
    with pytest.raises(DroppedError, match=Drop.CORRUPT):
        incoming.accept(first[2][0], b"\1" + first[2][1][1:])
    assert arrivals(incoming, second) == ["second"]


def test_a_message_that_comes_again_is_stale() -> None:
    first, second = frames("first", "second", chunks=1)
    incoming = Incoming(LIMIT_BYTES, Pool(0))
    arrivals(incoming, first + second)
    with pytest.raises(DroppedError, match=Drop.STALE):
        incoming.accept(*first[0])


def test_an_opening_that_is_refused_does_not_end_the_message_that_is_arriving() -> None:
    (message,) = frames("only")
    incoming = Incoming(LIMIT_BYTES, Pool(0))
    arrivals(incoming, message[:1])
    nonsense = Chunk("run", 0, 1, 2**40, 0, 0, b"nonsense")
    with pytest.raises(DroppedError, match=Drop.CORRUPT):
        incoming.accept(nonsense, b"")
    fitting = xxhash.xxh3_64_intdigest(b"", xxhash.xxh3_64_intdigest(nonsense.opening))
    with pytest.raises(WireError):
        incoming.accept(msgspec.structs.replace(nonsense, checksum=fitting), b"")
    assert arrivals(incoming, message[1:]) == ["only"]
