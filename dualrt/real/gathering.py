"""Gathering: how one process comes by what all others have, and how all come by what it has.

Owns the order in which processes have their turn, and that those who wait know that it goes on.
Must not know what is gathered, or when.

A model takes a while, and as many of them as there are learners take so many times that. So the
*collector* has a few at a time send, or be sent to, and the others wait for their turn. They wait
for a word of the collector, which says one after each message; so what `timeout_s` bounds is how
long nothing moves, and not how long it takes with all of them. The collector gives up first, as it
alone knows for whom it waits.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Generator, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import torch

from dualrt.core.effects import Packet
from dualrt.core.errors import PeerLostError
from dualrt.real.events import Events
from dualrt.real.gossip import Gossip

AT_A_TIME = 4
"""How many have their turn together: enough that a collector with a faster link than theirs is not
idle, and few enough that each gets on where all share one."""

WORDS_A_TIMEOUT = 20
"""How often, at most, those who wait are told so."""

PATIENCE = 1.25
"""How many timeouts they wait for a word."""

GATHER, SPREAD = "gathering", "spreading"
"""The tags of the words, which are one of the following."""

WAIT, TURN, END = "wait", "turn", "end"


@dataclass(frozen=True, slots=True)
class Contribution:
    """What one process adds to the results."""

    vectors: tuple[Any, ...]
    """Model-sized tensors on the CPU."""
    figures: bytes


class Gathering:
    """One process's part in it. `collector` is who gathers and spreads: 0, until it is lost."""

    def __init__(self, gossip: Gossip, learners: int, timeout_s: float, events: Events) -> None:
        self._gossip, self._events = gossip, events
        self._rank, self._learners, self._timeout_s = gossip.rank, learners, timeout_s
        self.collector = 0
        self._told_s = 0.0

    def gather(self, mine: Contribution) -> dict[int, Contribution]:
        """Contributions by rank, in order, at the collector; empty elsewhere.

        Whoever is lost on the way is left out; if it is the collector, the next one collects.
        """
        for collector in range(self._learners):
            self.collector = collector
            if collector == self._rank:
                return self._collect(mine)
            if collector in self._gossip.lost:
                continue
            try:
                self._contribute(collector, mine)
            except PeerLostError:
                continue
            return {}
        raise AssertionError("every learner is among the learners")

    def spread(self, packet: Packet | None) -> Packet:
        """The collector's packet, at everyone once everyone has it; the others bring none.

        Raises PeerLostError if the collector is lost. Who else is lost is not waited for.
        """
        collector = self.collector
        if self._rank != collector:
            while self._word(SPREAD) != TURN:
                pass
            spread = _on_cpu(self._gossip.recv("spread", collector).packet)
            self._gossip.send(collector, "taken", Packet())
            return spread
        if packet is None:
            raise ValueError(f"rank {collector} spreads a packet, and brought none")
        waiting, served = deque(self._others), deque[int]()
        while waiting or served:
            while waiting and len(served) < AT_A_TIME:
                peer = waiting.popleft()
                self._tell([peer], SPREAD, TURN)
                self._gossip.send(peer, "spread", packet)
                served.append(peer)
            with suppress(PeerLostError):
                self._gossip.recv("taken", served.popleft())
            self._have_wait(waiting, SPREAD)
        return packet

    def _contribute(self, collector: int, mine: Contribution) -> None:
        while (word := self._word(GATHER)) != END:
            if word == WAIT:
                continue
            # torch makes no tensor of an empty buffer.
            figures = torch.frombuffer(bytearray(mine.figures or b"\0"), dtype=torch.uint8)
            body = figures[: len(mine.figures)]
            self._gossip.send(collector, "figures", Packet(note=len(mine.vectors), body=body))
            for vector in mine.vectors:
                self._gossip.send(collector, "vector", Packet(body=vector))

    def _collect(self, mine: Contribution) -> dict[int, Contribution]:
        gathered = {self._rank: mine}
        waiting, sending = deque(self._others), deque[tuple[int, _Taking]]()
        while waiting or sending:
            while waiting and len(sending) < AT_A_TIME:
                peer = waiting.popleft()
                self._tell([peer], GATHER, TURN)
                sending.append((peer, self._take(peer)))
            # A message of each in turn: who sends much must not be the only one to get on.
            peer, taking = sending.popleft()
            try:
                next(taking)
            except StopIteration as taken:
                gathered[peer] = taken.value
            except PeerLostError as error:
                self._events.warning(
                    "left_out", f"learner {peer} adds nothing to the results: {error}", peer=peer
                )
            else:
                sending.append((peer, taking))
            self._have_wait(self._others, GATHER)
        self._tell(self._others, GATHER, END)
        return dict(sorted(gathered.items()))

    def _take(self, peer: int) -> _Taking:
        """What a peer sends, message by message."""
        figures = _on_cpu(self._gossip.recv("figures", peer).packet)
        vectors = []
        for _ in range(figures.note):
            yield
            vectors.append(_on_cpu(self._gossip.recv("vector", peer).packet).body)
        return Contribution(tuple(vectors), figures.body.numpy().tobytes())

    @property
    def _others(self) -> list[int]:
        return [peer for peer in range(self._learners) if peer != self._rank]

    def _word(self, tag: str) -> Any:
        """The collector's next one. Raises as `Gossip.recv` does."""
        patience_s = PATIENCE * self._timeout_s
        return self._gossip.recv(tag, self.collector, patience_s).packet.note

    def _have_wait(self, peers: Iterable[int], tag: str) -> None:
        """Tell them that it goes on, unless they were told just now."""
        now_s = time.monotonic()
        if now_s - self._told_s >= self._timeout_s / WORDS_A_TIMEOUT:
            self._told_s = now_s
            self._tell(peers, tag, WAIT)

    def _tell(self, peers: Iterable[int], tag: str, word: str) -> None:
        for peer in peers:
            self._gossip.send(peer, tag, Packet(note=word))


_Taking = Generator[None, None, Contribution]


def _on_cpu(packet: Packet) -> Packet:
    """What came before the driver had bodies put into the host's memory again is on its device."""
    return packet if packet.body is None else replace(packet, body=packet.body.cpu())
