"""Presence: which peers of a learner are there, and which are lost.

Owns when a peer counts as lost, when as found again, and who is told of it. Must not know a socket,
nor what is to be sent.

A peer whose connection broke *fades*: it counts as lost only a moment later, since what it had sent
before may still be read by then. It may also fade because it has to answer by an instant, and is
lost unless it has. Used by the courier's thread alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from dualrt.real.mailbox import Mailbox
from dualrt.real.roster import Roster

BROKE = "its connection broke"
"""Why most peers are lost."""

FADE_S = 0.1
"""How long after its connection broke a peer counts as lost: what it had sent before may still be
read by then, such as the last message of one that has ended."""


class Presence:
    """Who is there, as far as one learner can tell.

    Parameters: who waits for a message of a peer that is lost is told by `mailbox`, who waits for
    room there by `roster`; `watch` is told of each that is lost, and why, or found (None).
    """

    def __init__(
        self, mailbox: Mailbox, roster: Roster, watch: Callable[[int, str | None], None]
    ) -> None:
        self._mailbox, self._roster, self._watch = mailbox, roster, watch
        self._fading: dict[int, tuple[float, str]] = {}
        """Who counts as lost from an instant on, and why, unless it answers before."""
        self._lost: dict[int, None] = {}

    @property
    def due_s(self) -> float:
        """When to `look` again; infinity if nobody fades."""
        return min((due_s for due_s, _ in self._fading.values()), default=math.inf)

    def lost(self, peer: int) -> bool:
        """Whether it is lost."""
        return peer in self._lost

    def expect(self, peer: int, by_s: float, why: str) -> None:
        """It is lost from `by_s` on, and why, unless it has answered by then."""
        self._fading[peer] = by_s, why

    def fade(self, peer: int, now_s: float) -> None:
        """Its connection broke: its process is gone, or the way to it."""
        if peer not in self._lost:
            self._fading.setdefault(peer, (now_s + FADE_S, BROKE))

    def look(self, now_s: float) -> None:
        """Lose those whose time has come."""
        for peer, (due_s, why) in list(self._fading.items()):
            if due_s <= now_s:
                self._lose(peer, why)

    def lose(self, peer: int, why: str) -> None:
        """It is gone, or cannot be reached; nothing to one that is lost."""
        if peer not in self._lost:
            self._lose(peer, why)

    def find(self, peer: int) -> bool:
        """It is there, or answers; returns whether it was lost until now."""
        _, why = self._fading.get(peer, (0.0, ""))
        if why == BROKE:
            # Back so soon that nobody noticed; but what was under way is lost.
            self._lose(peer, why)
        self._fading.pop(peer, None)
        self._roster.greeted(peer)
        if peer not in self._lost:
            return False
        del self._lost[peer]
        self._mailbox.find(peer)
        self._watch(peer, None)
        return True

    def _lose(self, peer: int, why: str) -> None:
        self._fading.pop(peer, None)
        self._lost[peer] = None
        self._roster.lose(peer)
        self._mailbox.lose(peer, why)
        self._watch(peer, why)
