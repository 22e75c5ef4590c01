"""The line: a learner's way out of its host, which its connections share.

Owns the order in which bodies leave that are of a round: one round after another. Must not know
frames, sockets or what messages mean. docs/decisions/0028-rounds-in-order.md tells why.

A round begins when the rounds before it are through, but for what is on its way by then: a long way
holds much, and the next round need not wait until the last of it is acknowledged. The kernel tells
how far a connection has come, as what its peer's kernel has taken; so what lies in the queues of
hosts and switches is not through, and nothing of this needs the peer. Where the kernel tells
nothing, nobody waits.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable

from dualrt.real.tcp import Progress

LOOK_S = 2e-3
"""How often is looked while a body waits."""


class Turn:
    """A body's turn to leave."""

    __slots__ = ("come", "end_bytes", "nbytes", "over", "peer", "round_")

    def __init__(self, peer: int, nbytes: int, round_: int) -> None:
        self.peer, self.nbytes, self.round_ = peer, nbytes, round_
        self.come = False
        """Whether it may begin."""
        self.over = False
        """Whether no more of it will be sent, though it may not be through."""
        self.end_bytes = 0
        """How far its connection has come when it is through."""


class Line:
    """Whose turn it is.

    `progress` tells how far the connection to a peer has come, None where nothing is known of it.
    """

    def __init__(
        self,
        progress: Callable[[int], Progress | None],
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.due_s = math.inf
        """When to `look` again, though nothing may have happened."""
        self._progress, self._clock_s = progress, clock_s
        self._waiting: deque[Turn] = deque()
        self._under_way: list[Turn] = []
        self._ends_bytes: dict[int, int] = {}
        """How far each connection has come when the last body of a round that began is through."""
        self._ended = False

    def ask(self, peer: int, nbytes: int, round_: int) -> Turn:
        """A body of a round, no earlier one than the last, is to be sent. `look` says when."""
        turn = Turn(peer, nbytes, round_)
        if self._ended:
            turn.over = True
        else:
            self._waiting.append(turn)
            self.due_s = 0.0
        return turn

    def drop(self, peer: int) -> None:
        """The connection to a peer is no more, and nothing that was to go through it is left."""
        self._waiting = deque(turn for turn in self._waiting if turn.peer != peer)
        self._forget(peer)
        self.due_s = 0.0

    def end(self) -> None:
        """What waits now, or is asked for later, is never sent; so nothing waits behind it."""
        self._ended = True
        for turn in self._waiting:
            turn.over = True
        self._waiting.clear()

    def look(self) -> None:
        """Let those begin whose turn has come."""
        now_s = self._clock_s()
        if now_s < self.due_s:
            return
        # Where one was given up half-way, what was to come of it never does.
        for peer in {turn.peer for turn in self._under_way if turn.over}:
            self._forget(peer)
        self._under_way = [turn for turn in self._under_way if not self._through(turn)]
        while self._waiting and self._may_begin(self._waiting[0]):
            self._begin(self._waiting.popleft())
        self.due_s = now_s + LOOK_S if self._waiting else math.inf

    def _forget(self, peer: int) -> None:
        self._under_way = [turn for turn in self._under_way if turn.peer != peer]
        self._ends_bytes.pop(peer, None)

    def _through(self, turn: Turn) -> bool:
        """Whether it is, or will be before the next body has crossed the line."""
        seen = self._progress(turn.peer)
        if seen is None:
            return True
        soon_bytes = min(seen.in_flight_bytes, seen.bytes_per_s * (seen.min_rtt_s + LOOK_S))
        return seen.acked_bytes + soon_bytes >= turn.end_bytes

    def _may_begin(self, turn: Turn) -> bool:
        # What is of this round itself may be under way, of earlier ones first.
        return not self._under_way or self._under_way[0].round_ >= turn.round_

    def _begin(self, turn: Turn) -> None:
        turn.come = True
        seen = self._progress(turn.peer)
        if seen is None:
            return
        # Behind what is left of the last one on the same connection, also if it counts as through.
        before_bytes = max(seen.acked_bytes, self._ends_bytes.get(turn.peer, 0))
        turn.end_bytes = self._ends_bytes[turn.peer] = before_bytes + turn.nbytes
        self._under_way.append(turn)
