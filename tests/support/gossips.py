"""Learners that gossip over the loopback, and strangers that speak to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import zmq

from dualrt.real.gossip import Gossip

MAX_BODY_BYTES = 32_000_000
PATIENCE_S = 20.0

both_ways = pytest.mark.parametrize("shares_memory", [True, False], ids=["ring", "tcp"])
"""Large bodies between learners of one host, through shared memory and through the socket."""


def learner(rank: int, **settings: Any) -> Gossip:
    """One of them; `settings` are the transport's, where they are not the usual ones."""
    usual: dict[str, Any] = {
        "run_id": "run",
        "timeout_s": PATIENCE_S,
        "max_body_bytes": MAX_BODY_BYTES,
    }
    return Gossip(rank, **{**usual, **settings})


@contextmanager
def team(learners: int, **settings: Any) -> Iterator[list[Gossip]]:
    """Learners that know each other, closed in the end."""
    members = [learner(rank, **settings) for rank in range(learners)]
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
