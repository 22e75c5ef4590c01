"""Exchange: what a learner finds out about the way to another, by messages of the run's transport.

Owns the questions, their answers and the arithmetic. Must not know which two learners it is.

Clocks are compared as NTP does it (RFC 5905, section 8): the asker notes when it asked and when it
was answered, the other when it heard and when it spoke. If the way took equally long there and
back, the offset is exact; it is never off by more than half of what the way took.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

import torch

from dualrt.core.effects import Packet
from dualrt.real.gossip import Gossip

ASK, REPLY = "doctor ask", "doctor reply"

PINGS = 20

LEAST_BYTES, MOST_BYTES = 1 << 16, 1 << 25
"""Bodies begin small, for slow ways, and double."""

LONG_ENOUGH_S = 0.1
"""What takes so long is no matter of chance any more."""

Clock = Callable[[], float]


class Measured(NamedTuple):
    """Of the way to a peer, as whoever asks sees it."""

    round_trip_s: float
    there_bytes_per_s: float
    back_bytes_per_s: float
    clock_offset_s: float
    clock_error_s: float


def ask(gossip: Gossip, peer: int, clock: Clock = time.time) -> Measured:
    """Measure, while the peer calls `answer`. Raises StalledError, PeerLostError."""
    _asked(gossip, peer, clock)  # The first has connections to make.
    trips = [_asked(gossip, peer, clock) for _ in range(PINGS)]
    round_trip_s, offset_s = min(trips)
    there = _bytes_per_s(
        lambda body, _: _turn(gossip, peer, Packet(note="take", body=body)), round_trip_s
    )
    back = _bytes_per_s(
        lambda _, nbytes: _turn(gossip, peer, Packet(note=("give", nbytes))), round_trip_s
    )
    gossip.send(peer, ASK, Packet(note="over"))
    return Measured(round_trip_s, there, back, offset_s, round_trip_s / 2)


def answer(gossip: Gossip, peer: int, clock: Clock = time.time) -> None:
    """Answer a peer until it is done. Raises as `ask` does."""
    while True:
        packet = gossip.recv(ASK, peer).packet
        heard_s = clock()
        match packet.note:
            case "clock":
                gossip.send(peer, REPLY, Packet(note=(heard_s, clock())))
            case ("give", int(nbytes)):
                gossip.send(peer, REPLY, Packet(body=_body(min(nbytes, MOST_BYTES))))
            case "over":
                return
            case _:
                gossip.send(peer, REPLY, Packet())


def _asked(gossip: Gossip, peer: int, clock: Clock) -> tuple[float, float]:
    """Round trip, and how far the peer's clock is ahead."""
    asked_s, began_s = clock(), time.perf_counter()
    heard_s, spoke_s = _turn(gossip, peer, Packet(note="clock")).note
    answered_s, took_s = clock(), time.perf_counter() - began_s
    offset_s = ((heard_s - asked_s) + (spoke_s - answered_s)) / 2
    return max(0.0, took_s - (spoke_s - heard_s)), offset_s


def _bytes_per_s(move: Callable[[torch.Tensor, int], object], round_trip_s: float) -> float:
    nbytes = LEAST_BYTES
    while True:
        body = _body(nbytes)
        began_s = time.perf_counter()
        move(body, nbytes)
        took_s = time.perf_counter() - began_s
        if took_s >= LONG_ENOUGH_S or nbytes >= MOST_BYTES:
            # The way of the first byte, and of the answer, is no matter of bandwidth.
            return nbytes / max(took_s - round_trip_s, took_s / 10)
        nbytes *= 2


def _turn(gossip: Gossip, peer: int, packet: Packet) -> Packet:
    gossip.send(peer, ASK, packet)
    return gossip.recv(REPLY, peer).packet


def _body(nbytes: int) -> torch.Tensor:
    return torch.zeros(nbytes, dtype=torch.uint8)
