"""Whatever bytes a stranger sends to a live learner, it goes on, and its memory does not grow."""

from __future__ import annotations

import resource
from collections.abc import Iterator

import pytest
import torch
import zmq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dualrt.core.effects import Packet
from dualrt.real.gossip import Gossip
from dualrt.real.wire import Bye, Chunk, Credit, Frame, Hello, Share, Slots, Welcome, encode

PATIENCE_S = 20.0
MAX_BODY_BYTES = 1_000_000
GROWTH_BYTES = 300_000_000
"""More than all that may be held for true peers, far less than what frames here claim."""

counts = st.integers(0, 2**62) | st.integers(0, 3)
incarnations = st.integers(0, 2**60)
"""Of learners born before 2007. Without keys, a stranger could pretend to be a newer one."""
heads = st.tuples(st.sampled_from(["run", "other", ""]), st.integers(0, 3), incarnations)


def built(kind: type[Frame], *fields: st.SearchStrategy[object]) -> st.SearchStrategy[bytes]:
    return st.tuples(heads, st.tuples(*fields)).map(
        lambda parts: encode(kind(*parts[0], *parts[1]))
    )


short = st.binary(max_size=40)
valid = st.one_of(
    built(Hello, st.integers(0, 3), st.sampled_from(["", "tcp://127.0.0.1:9"]), counts),
    built(Welcome),
    built(Credit, counts),
    built(Bye),
    built(Slots, short, st.none() | counts),
    built(Share, counts, counts, short, counts),
    built(Chunk, counts, counts, counts, short, st.none() | counts, counts),
)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A frame that once was one."""
    frame = bytearray(draw(valid))
    for place in draw(st.lists(st.integers(0, len(frame) - 1), max_size=4)):
        frame[place] = draw(st.integers(0, 255))
    return bytes(frame[: draw(st.integers(0, len(frame)))])


nested = st.integers(1, 5000).map(lambda depth: b"\x91" * depth + b"\xc0")
frames = st.lists(
    st.tuples(st.binary(max_size=200) | mutated() | valid | nested, *[st.binary(max_size=100)])
    | st.lists(short, max_size=5).map(tuple),
    max_size=20,
)


@pytest.fixture(scope="module")
def attacked() -> Iterator[tuple[Gossip, Gossip, zmq.Socket[bytes]]]:
    with (
        Gossip(0, run_id="run", timeout_s=PATIENCE_S, max_body_bytes=MAX_BODY_BYTES) as a,
        Gossip(1, run_id="run", timeout_s=PATIENCE_S, max_body_bytes=MAX_BODY_BYTES) as b,
        zmq.Context() as context,
        context.socket(zmq.DEALER) as stranger,
    ):
        addresses = {0: a.address, 1: b.address}
        a.connect(addresses)
        b.connect(addresses)
        stranger.linger = 0
        stranger.connect(b.address)
        yield a, b, stranger


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(frames.map(lambda several: [parts for parts in several if parts]))
def test_any_frames_from_nobody_in_the_run_are_dropped_and_counted(
    attacked: tuple[Gossip, Gossip, zmq.Socket[bytes]], several: list[tuple[bytes, ...]]
) -> None:
    a, b, stranger = attacked
    peak_before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for parts in several:
        stranger.send_multipart(parts)
    body = torch.rand(1000)
    a.send(1, "t", Packet(body=body))
    assert torch.equal(b.recv("t").packet.body, body)
    b.send(0, "t", Packet(body=body))
    assert torch.equal(a.recv("t").packet.body, body)
    grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak_before)
    assert grown < GROWTH_BYTES
