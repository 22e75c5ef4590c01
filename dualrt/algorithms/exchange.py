"""What a way to average pairwise has to offer to an algorithm that gossips.

Owns the three places where the ways differ: who waits for what before it averages, before it
answers, and before it applies a gradient. `delta` and `lock` are the two ways.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from dualrt.core.effects import Awaited, Body, Together
from dualrt.core.errors import RunError
from dualrt.core.learner import Learner, Shares
from dualrt.core.weights import Gradient, Snapshot

NOTHING: Together[tuple[None, ...]] = Together()
"""No exchange: what a step awaits that starts none."""


class Exchange(ABC):
    """One learner's end of all its exchanges."""

    one_sided: bool
    """Whether it needs a graph of two sides, of which one starts every exchange."""
    outlives_peers: bool
    """Whether it goes on when a peer is lost."""
    bears_disorder: bool
    """Whether a message that comes twice, or is overtaken, counts as the one that it is."""
    holds_updates: bool
    """Whether a gradient is applied only when no exchange is under way."""

    def __init__(self, learner: Learner) -> None:
        self.learner = learner
        self.weights = learner.weights

    @abstractmethod
    def average(self, shares: Shares) -> Awaited[object]:
        """Start the exchanges with these peers, and return when all have been averaged with."""

    @abstractmethod
    async def initiate(self, peer: int, share: float) -> None:
        """Exchange with one peer, from the first message to the averaging."""

    @abstractmethod
    async def answer(self) -> None:
        """Respond to the exchanges that others start, for ever: the body of a daemon strand."""

    @abstractmethod
    def update(self, gradient: Gradient[Any], read: Snapshot[Any]) -> Body[None]:
        """w <- w - a g, when the exchanges that are under way allow it."""

    @property
    def given_up(self) -> int:
        """Exchanges of which this end does not know whether the other has averaged."""
        return 0

    async def finish(self) -> None:  # noqa: B027 - most ways leave nothing open
        """See to what is still open when the learner has taken its last step."""

    async def turn_away(self) -> None:  # noqa: B027 - most ways take nobody back
        """Respond to the exchanges that others start before there are weights to average with.

        Returns when `have_weights` was called.
        """

    async def have_weights(self) -> None:  # noqa: B027 - as above
        """There are now."""

    async def ask(self, peer: int) -> Snapshot[Any] | None:
        """A peer's weights, with nothing given in return; None if it has none yet itself.

        Raises PeerLostError if the peer is lost, RunError if this way knows no such thing.
        """
        raise RunError(f"{type(self).__name__} cannot ask learner {peer} for its weights alone")
