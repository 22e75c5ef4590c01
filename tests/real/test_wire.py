"""What goes over the wire comes back as it was; what does not parse is a WireError."""

from __future__ import annotations

import msgspec
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from dualrt.core.effects import Packet
from dualrt.real.wire import (
    DTYPES,
    MAX_HEADER_BYTES,
    Assembly,
    Bye,
    Chunk,
    Credit,
    Form,
    Frame,
    Hello,
    HostBodies,
    Opening,
    Welcome,
    WireError,
    chunks,
    cost_bytes,
    decode,
    encode,
    seal,
)

LIMIT_BYTES = 1 << 20
ORIGIN = Frame("run", 3, 7)

notes = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4).map(tuple),
    max_leaves=10,
)


def travel(tag: str, packet: Packet, chunk_bytes: int = 64) -> tuple[str, Packet]:
    """Take a packet through frames and back."""
    assembly: Assembly | None = None
    whole = False
    letter = seal(tag, packet, LIMIT_BYTES)
    for parts in filter(None, chunks(letter, ORIGIN, 11, chunk_bytes=chunk_bytes)):
        frame, data = decode(parts[0]), bytes(parts[1]) if len(parts) == 2 else b""
        assert isinstance(frame, Chunk)
        assert (frame.run, frame.sender, frame.incarnation, frame.position) == ("run", 3, 7, 11)
        assert frame.matches(data)
        assembly = assembly or Assembly(frame.opening, LIMIT_BYTES, HostBodies(0))
        whole = assembly.add(frame.index, data)
    assert assembly is not None
    assert whole
    return assembly.tag, assembly.packet()


@given(st.text(max_size=9), st.lists(st.integers(0, 2**62), max_size=9).map(tuple), notes)
def test_tag_versions_and_note_arrive_as_they_were(
    tag: str, versions: tuple[int, ...], note: object
) -> None:
    arrived_tag, packet = travel(tag, Packet(versions, None, note))
    assert arrived_tag == tag
    assert packet == Packet(versions, None, note)


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=str)
@pytest.mark.parametrize("shape", [(), (0,), (1,), (100,), (3, 5, 7), (4, 0, 2)])
def test_a_body_arrives_bit_by_bit(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    size = torch.Size(shape).numel()
    body = (torch.arange(size) % 100).to(dtype).reshape(shape)
    _, packet = travel("t", Packet(body=body))
    assert packet.body.dtype == dtype
    assert packet.body.shape == body.shape
    assert torch.equal(packet.body, body)


def test_nan_and_negative_zero_keep_their_bits() -> None:
    body = torch.tensor([float("nan"), -0.0, float("inf")])
    _, packet = travel("t", Packet(body=body))
    assert torch.equal(packet.body.view(torch.int32), body.view(torch.int32))


def test_a_body_that_is_not_contiguous_arrives_in_order() -> None:
    body = torch.arange(12).reshape(3, 4).t()
    _, packet = travel("t", Packet(body=body))
    assert torch.equal(packet.body, body)


def test_a_contiguous_body_is_not_copied_on_its_way_out() -> None:
    body = torch.zeros(10)
    letter = seal("t", Packet(body=body), LIMIT_BYTES)
    body.fill_(1)
    assert bytes(letter.body) == bytes(torch.ones(10).numpy())


def test_an_arrived_body_is_writable() -> None:
    _, packet = travel("t", Packet(body=torch.zeros(3)))
    packet.body.add_(1)
    assert packet.body.tolist() == [1, 1, 1]


@pytest.mark.parametrize(("size", "frames"), [(0, 1), (1, 1), (64, 1), (65, 2), (640, 10)])
def test_a_body_is_cut_into_as_few_chunks_as_hold_it(size: int, frames: int) -> None:
    letter = seal("t", Packet(body=torch.zeros(size, dtype=torch.uint8)), LIMIT_BYTES)
    assert len(list(chunks(letter, ORIGIN, 0, chunk_bytes=64))) == frames
    assert letter.cost_bytes == cost_bytes(size)


@pytest.mark.parametrize(
    "frame",
    [
        Hello("run", 0, 1, 2),
        Welcome("run", 0, 1),
        Credit("run", 0, 1, 2**40),
        Bye("run", 0, 1),
        Chunk("run", 0, 1, 2, 3, 4, b"opening"),
    ],
)
def test_a_header_stands_for_its_frame(frame: Frame) -> None:
    assert decode(encode(frame)) == frame


@pytest.mark.parametrize(
    "note",
    [[1], {"a": 1}, b"", (1, [2]), 1j, 2**64, "\ud800", torch.zeros(1), Bye("r", 0, 0)],
    ids=ascii,
)
def test_a_note_that_would_arrive_as_something_else_is_refused(note: object) -> None:
    with pytest.raises(WireError):
        seal("t", Packet(note=note), LIMIT_BYTES)


def test_a_note_too_long_for_a_header_is_refused() -> None:
    with pytest.raises(WireError, match="send the note's data as a body"):
        seal("t", Packet(note="x" * MAX_HEADER_BYTES), LIMIT_BYTES)


@pytest.mark.parametrize(
    "body", [[1.0, 2.0], torch.zeros(3, device="meta"), torch.zeros(2, dtype=torch.complex64)]
)
def test_a_body_that_cannot_travel_is_refused(body: object) -> None:
    with pytest.raises(WireError):
        seal("t", Packet(body=body), LIMIT_BYTES)


def test_a_body_beyond_the_limit_is_refused_by_both_sides() -> None:
    packet = Packet(body=torch.zeros(3))
    letter = seal("t", packet, 12)
    with pytest.raises(WireError, match="limit of 11 bytes"):
        seal("t", packet, 11)
    with pytest.raises(WireError, match="limit of 11 bytes"):
        Assembly(letter.opening, 11, HostBodies(0))


@pytest.mark.parametrize(
    "form",
    [
        Form("float32", (2**62,)),
        Form("float32", (2**32, 2**32)),
        Form("float32", (0, 2**62, 2**62)),
        Form("float32", (1,) * 100),
        Form("complex64", (1,)),
        Form("object", (1,)),
        Form("", ()),
    ],
)
def test_a_form_that_no_body_can_have_is_refused_before_anything_is_allocated(form: Form) -> None:
    opening = msgspec.msgpack.encode(Opening("t", (), None, form))
    with pytest.raises(WireError):
        Assembly(opening, LIMIT_BYTES, HostBodies(0))


def test_chunks_out_of_order_or_too_long_are_refused() -> None:
    letter = seal("t", Packet(body=torch.zeros(10, dtype=torch.uint8)), LIMIT_BYTES)
    for index, size in [(1, 5), (0, 11)]:
        with pytest.raises(WireError):
            Assembly(letter.opening, LIMIT_BYTES, HostBodies(0)).add(index, bytes(size))


@pytest.mark.parametrize("at", [0, 40, 99])
def test_a_flipped_bit_does_not_match_the_checksum(at: int) -> None:
    letter = seal("t", Packet(body=torch.zeros(100, dtype=torch.uint8)), LIMIT_BYTES)
    (header, data), *_ = [one for one in chunks(letter, ORIGIN, 0) if one and len(one) == 2]
    damaged = bytearray(data)
    damaged[at] ^= 4
    frame = decode(header)
    assert isinstance(frame, Chunk)
    assert frame.matches(data)
    assert not frame.matches(bytes(damaged))
    assert not msgspec.structs.replace(frame, opening=b"another").matches(data)


@given(st.binary(max_size=200))
@example(b"")
@example(b"\xc1")
@example(b"\x91" * 60_000)
@example(b"\xdd\xff\xff\xff\xff")
@example(b"\x94\xa5hello\xa3\xff\xff\xff\x00\x00\x00")
@example(b"\x00" * (MAX_HEADER_BYTES + 1))
def test_arbitrary_bytes_are_a_header_or_a_wire_error(data: bytes) -> None:
    try:
        frame = decode(data)
    except WireError:
        return
    assert decode(encode(frame)) == frame


@given(st.binary(max_size=200))
@example(b"\x94\xa1t\x90" + b"\x91" * 60_000)
@example(b"\x94\xa1t\x90\x81\xa1a\x01\xc0")
@example(b"\x94\xa1t\x90\xd4\x05\x01\xc0")
def test_arbitrary_bytes_are_an_opening_or_a_wire_error(data: bytes) -> None:
    try:
        assembly = Assembly(data, LIMIT_BYTES, HostBodies(0))
    except WireError:
        return
    assert assembly.cost_bytes <= cost_bytes(LIMIT_BYTES)


scraps = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=12,
)
kinds = st.sampled_from(["hello", "welcome", "credit", "bye", "chunk"])


@given(kinds, st.lists(scraps, max_size=8))
def test_well_formed_msgpack_of_any_content_is_a_header_or_a_wire_error(
    kind: str, fields: list[object]
) -> None:
    try:
        frame = decode(msgspec.msgpack.encode([kind, *fields]))
    except WireError:
        return
    assert type(frame).__name__.lower() == kind


@given(
    st.text(max_size=3),
    st.lists(st.integers(0, 9), max_size=3),
    scraps,
    st.tuples(st.sampled_from([*DTYPES, "complex64"]), st.lists(st.integers(0, 2**63), max_size=10))
    | scraps,
)
def test_an_opening_of_any_content_is_allocated_within_the_limit_or_a_wire_error(
    tag: str, versions: list[int], note: object, form: object
) -> None:
    try:
        assembly = Assembly(
            msgspec.msgpack.encode([tag, versions, note, form]), LIMIT_BYTES, HostBodies(0)
        )
    except WireError:
        return
    body = assembly.packet().body
    assert body is None or body.nbytes <= LIMIT_BYTES
