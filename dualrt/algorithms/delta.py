"""The delta exchange: averaging that waits for nobody who computes, on any graph.

Owns the protocol of offer and answer.

    initiator I                         responder R
    m_I = snapshot        -- offer -->  m_R = snapshot
                         <-- answer --
    w_I += t (m_R - m_I)                w_R += t (m_I - m_R)

Both apply opposite differences of what they *sent*, so the sum over learners is conserved whatever
lands in between (`dualrt.core.weights`). A responder always answers, at once, in a strand of its
own: nobody waits for a learner that computes, and there is no cycle of waiting in any graph.
"""

from __future__ import annotations

from typing import Any, final

from dualrt.algorithms.exchange import Exchange
from dualrt.core.effects import Body, Packet, Recv, Send, Together
from dualrt.core.learner import Shares
from dualrt.core.weights import Gradient, Snapshot


@final
class Delta(Exchange):
    """Differences of what both ends sent, applied whenever they arrive."""

    one_sided = False

    async def average(self, shares: Shares) -> None:
        """All exchanges at once."""
        exchanges: list[Body[None]] = [self.initiate(peer, share) for peer, share in shares]
        match exchanges:
            case []:
                pass
            case [only]:
                await only
            case _:
                await Together(*exchanges)

    async def initiate(self, peer: int, share: float) -> None:
        """Offer, wait for the answer, apply the difference."""
        mine = self.weights.snapshot()
        await Send(peer, "offer", Packet(mine.versions, mine.vector, share))
        _, answer = await Recv("answer", peer)
        await self.learner.blend(mine, Snapshot(answer.body, answer.versions), share)

    async def answer(self) -> None:
        """Answer first, so that the initiator waits for no blend."""
        while True:
            initiator, offer = await Recv("offer")
            mine = self.weights.snapshot()
            await Send(initiator, "answer", Packet(mine.versions, mine.vector))
            await self.learner.blend(mine, Snapshot(offer.body, offer.versions), share=offer.note)

    async def update(self, gradient: Gradient[Any], read: Snapshot[Any]) -> None:
        """At once: a difference that is under way stays right."""
        await self.learner.descend(gradient, read)
