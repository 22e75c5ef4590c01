"""Two learners find out about the way between them, and about each other's clock."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from dualrt.core.errors import PeerLostError, StalledError
from dualrt.doctor.exchange import MOST_BYTES, Measured, answer, ask
from dualrt.real.gossip import Gossip

PATIENCE_S = 20.0

Two = tuple[Gossip, Gossip]


def gossip(rank: int, timeout_s: float = PATIENCE_S) -> Gossip:
    return Gossip(rank, run_id="run", timeout_s=timeout_s, max_body_bytes=MOST_BYTES)


@pytest.fixture
def two() -> Iterator[Two]:
    with gossip(0) as a, gossip(1) as b:
        for one in (a, b):
            one.connect({0: a.address, 1: b.address})
        yield a, b


def measured(two: Two, ahead_s: float) -> Measured:
    a, b = two
    with ThreadPoolExecutor(1) as other:
        answered = other.submit(answer, b, 0, lambda: time.time() + ahead_s)
        found = ask(a, 1)
        answered.result(PATIENCE_S)
    return found


@pytest.mark.parametrize("ahead_s", [0.0, 3.0, -0.5])
def test_a_clock_that_is_off_is_found_within_the_error_that_is_told(
    two: Two, ahead_s: float
) -> None:
    found = measured(two, ahead_s)
    assert abs(found.clock_offset_s - ahead_s) <= found.clock_error_s + 1e-6
    assert found.clock_error_s == found.round_trip_s / 2
    assert found.round_trip_s > 0
    assert min(found.there_bytes_per_s, found.back_bytes_per_s) > 0


def test_a_peer_that_does_not_answer_is_waited_for_no_longer_than_the_timeout() -> None:
    with gossip(0, timeout_s=0.5) as a, gossip(1) as b:
        a.connect({0: a.address, 1: b.address})
        b.connect({0: a.address, 1: b.address})
        with pytest.raises((StalledError, PeerLostError)):
            ask(a, 1)
