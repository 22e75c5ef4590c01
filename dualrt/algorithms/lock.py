"""The papers' exchange: atomic averages of a pair, under a lock at either end, and their waiting.

Owns the protocol of request, answer and receipt that 1710.06952 proves deadlock-free and 1904.04956
runs: one side of a bipartite graph is active and starts every exchange, one for each new gradient;
the other is passive. In each learner one strand takes gradients and applies them, another averages,
and neither may change the weights while the other is about it.

    active A                                    passive P
    takes its turn      -- request, w_A -->     takes its turn
                       <-- answer, w_P ---
    w_A += t (w_P - w_A)  -- receipt -->        w_P += t (w_A - w_P)
    gives its turn back                         gives its turn back

A turn is a message that a learner sends to itself: whoever has received it may change the weights,
and sends it again when done. So a lock is an effect like others, its waiting is in the records as
"recv turn", and nothing is locked that a driver does not know of.

Waits for: A, with its update, until P's turn is free and the answer is there; P, with its update,
until A has all of the answer, since P may not overwrite what it is sending. That is what the delta
exchange does without. No deadlock: who has a turn and waits is an A that waits for a P, or a P that
waits for what is on the wire; no A ever waits for another. On a graph with an odd cycle somebody
must be both, and learners that each hold their own turn wait for the next around it.

Stale: as with the delta exchange, gradients. Conserved: the sum over learners, since both ends
apply opposite differences of what they sent; under the turns these are their current weights, and
the step is the papers' average.
"""

from __future__ import annotations

from typing import Any, final

from dualrt.algorithms.exchange import Exchange
from dualrt.core.effects import Packet, Recv, Send
from dualrt.core.learner import Shares
from dualrt.core.weights import Gradient, Snapshot


@final
class Lock(Exchange):
    """One exchange at a time, and no update meanwhile."""

    one_sided = True
    holds_updates = True
    bears_disorder = False  # a receipt that comes twice is taken for the next one's
    outlives_peers = False  # a turn that waits for the lost is never given back

    async def average(self, shares: Shares) -> None:
        """One exchange after another: each is an atomic average of two."""
        for peer, share in shares:
            await self._take_turn()
            await self.initiate(peer, share)
            await self._give_turn()

    async def initiate(self, peer: int, share: float) -> None:
        """The active end, in its turn."""
        mine = self.weights.offer(peer)
        await Send(peer, "request", Packet(mine.versions, mine.vector, share))
        _, answer = await Recv("answer", peer)
        await Send(peer, "receipt", Packet())
        self.weights.heed(peer, answer.body)
        await self.learner.blend(mine, Snapshot(answer.body, answer.versions), share)

    async def answer(self) -> None:
        """The passive end; the learner's turn exists from its first step on."""
        await self._give_turn()
        while True:
            active, request = await Recv("request")
            await self._take_turn()
            mine = self.weights.answer(request.body)
            await Send(active, "answer", Packet(mine.versions, mine.vector))
            await Recv("receipt", active)
            theirs = Snapshot(request.body, request.versions)
            await self.learner.blend(mine, theirs, share=request.note)
            await self._give_turn()

    async def update(self, gradient: Gradient[Any], read: Snapshot[Any]) -> None:
        """After the exchange that is under way, and before the next."""
        await self._take_turn()
        await self.learner.descend(gradient, read)
        await self._give_turn()

    async def _take_turn(self) -> None:
        await Recv("turn", self.learner.rank)

    async def _give_turn(self) -> None:
        await Send(self.learner.rank, "turn", Packet())
