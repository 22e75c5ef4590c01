"""Witnessed: where a real run tells the witness of its order what happens.

Owns these moments, and that a run of which no order is kept does without them. Must not know how an
order is kept, nor what becomes of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial

from dualrt.core.effects import Send
from dualrt.core.errors import PeerLostError
from dualrt.core.learner import Learner, Strand
from dualrt.core.order import Witness, check_names, put_in_order
from dualrt.real.gossip import Gossip
from dualrt.real.lanes import Lane


class Unwitnessed:
    """A run of which no order is kept: what is asked for is done, and no more."""

    def __init__(self, gossip: Gossip) -> None:
        self._gossip = gossip

    def begin(self, strands: Sequence[Strand]) -> None:
        """These are the learner's own. Raises UsageError if they cannot be told apart."""

    def path(self, strand: Strand) -> str | None:
        """What a strand is called in the order; None for one that is not in there."""
        return None

    def on(self, path: str | None) -> AbstractContextManager[None]:
        """Let this thread take that course's turns."""
        return nullcontext()

    def send(self, message: Send, lane: Lane) -> None:
        """Send it, from the lane of this thread."""
        self._gossip.send(message.peer, message.tag, message.packet, lane, message.round_)

    def knew(self, what: str, number: float) -> float:
        """This thread is told a number, which it is told again when the run is replayed."""
        return number

    def told(self, error: PeerLostError) -> None:
        """This thread is told of a loss."""

    def lost(self) -> frozenset[int]:
        """Who is lost just now, for this thread to know."""
        return self._gossip.lost


class Witnessed(Unwitnessed):
    """A run of which `witness` keeps the order; the learner asks it from now on."""

    def __init__(self, gossip: Gossip, learner: Learner, witness: Witness) -> None:
        super().__init__(gossip)
        self._witness = witness
        self._own: Sequence[Strand] = ()
        put_in_order(learner, witness)
        gossip.tell_what_is_taken(witness.took)

    def begin(self, strands: Sequence[Strand]) -> None:
        check_names(strands)
        self._own = strands

    def path(self, strand: Strand) -> str | None:
        # Not by its name, which may be that of one of the driver's.
        return strand.name if any(strand is one for one in self._own) else None

    def on(self, path: str | None) -> AbstractContextManager[None]:
        return self._witness.on(path)

    def send(self, message: Send, lane: Lane) -> None:
        if message.peer in self._gossip.lost:
            # It vanishes, and that no strand is told so.
            self._witness.lost(message.peer)
        self._witness.sent(message.tag, message.peer, partial(super().send, message, lane))

    def knew(self, what: str, number: float) -> float:
        return self._witness.knew(what, number)

    def told(self, error: PeerLostError) -> None:
        self._witness.lost(error.peer)

    def lost(self) -> frozenset[int]:
        lost = super().lost()
        if lost:
            self._witness.lost(min(lost))
        return lost
