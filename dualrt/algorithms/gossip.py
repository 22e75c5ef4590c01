"""Pairwise gossip: the exchange that asynchronous algorithms average with, and how they end.

Owns the protocol of offer and answer, and the spreading of the end. Must not know when an
algorithm chooses to exchange.

    initiator I                         responder R
    m_I = snapshot        -- offer -->  m_R = snapshot
                         <-- answer --
    w_I += t (m_R - m_I)                w_R += t (m_I - m_R)

Both apply opposite differences of what they *sent*, so the sum over learners is conserved whatever
lands in between (`dualrt.core.weights`). A responder always answers, at once, in a strand of its
own: nobody waits for a learner that computes, and there is no cycle of waiting in any graph.

The end: a learner that knows the agreed number of updates to be reached stops, and tells a few
others, who stop after their current step and tell a few more; log2(n) hops reach everyone. Its
answering strands stay until all learners have stopped, so nobody waits for one that has ended.
"""

from __future__ import annotations

from collections.abc import Sequence

from dualrt.core.effects import Body, Packet, Recv, Send, Together
from dualrt.core.errors import UsageError
from dualrt.core.learner import Learner, Mixing, Strand
from dualrt.core.weights import Snapshot


class Gossiper(Learner):
    """A learner that averages pairwise with its neighbours on a graph."""

    @property
    def mixing(self) -> Mixing:
        """This learner's rows of the mixing matrices."""
        if self.seat.mixing is None:
            raise UsageError(f"learner {self.rank} gossips, but it is no vertex of a graph")
        return self.seat.mixing

    def listeners(self) -> Sequence[Strand]:
        """The strands that every gossiping learner needs beside its training."""
        return (
            Strand("answer", self.answer, daemon=True),
            Strand("hear", self.hear_the_end, daemon=True),
        )

    async def average(self, round_: int) -> None:
        """w_{k+1/2} = sum_j t_ij w_j: the exchanges of a round that are this learner's to start."""
        exchanges: list[Body[None]] = [
            self.exchange(peer, share) for peer, share in self.mixing.initiates(round_)
        ]
        match exchanges:
            case []:
                pass
            case [only]:
                await only
            case _:
                await Together(*exchanges)

    async def exchange(self, peer: int, share: float) -> None:
        """Initiate: offer, wait for the answer, apply the difference."""
        mine = self.weights.snapshot()
        await Send(peer, "offer", Packet(mine.versions, mine.vector, share))
        _, answer = await Recv("answer", peer)
        await self.blend(mine, Snapshot(answer.body, answer.versions), share)

    async def answer(self) -> None:
        """Respond, for ever: answer first, so that the initiator waits for no blend."""
        while True:
            initiator, offer = await Recv("offer")
            mine = self.weights.snapshot()
            await Send(initiator, "answer", Packet(mine.versions, mine.vector))
            await self.blend(mine, Snapshot(offer.body, offer.versions), share=offer.note)

    async def spread_the_end(self) -> None:
        """Tell the learners 1, 2, 4, 8 ... places on, whatever the graph is."""
        others = self.seat.layout.gossipers
        place, distance = others.index(self.rank), 1
        versions = self.weights.known()
        while distance < len(others):
            await Send(others[(place + distance) % len(others)], "end", Packet(versions))
            distance *= 2

    async def hear_the_end(self) -> None:
        """Take note that others have stopped."""
        while True:
            _, end = await Recv("end")
            self.weights.hear(end.versions)
