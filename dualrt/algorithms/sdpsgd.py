"""Synchronous decentralised SGD (1907.05701, eq. 7; D-PSGD of 1705.09056).

    W_{k+1} = W_k T_k - a_k g(W_k; xi_k)

Columns of W are learners; T_k is doubly stochastic, with the entries of the communication graph.
The gradient is taken at w_k, before the averaging, so that the two overlap.

Stale: a gradient does not see the neighbours' latest updates, which the averaging of the same step
brings in: as many versions of a neighbour as rounds since they last met. Conserved: the averaging
leaves the sum over learners as it is, since both ends of an edge apply opposite differences. Waits
for: its neighbours' weights of the same step, which is the barrier. Averages are taken in the order
of ranks, so that the bits of the result depend on nothing else.
"""

from __future__ import annotations

from typing import final

from dualrt.algorithms.synchronous import Synchronous
from dualrt.core.effects import Packet, Recv, Send
from dualrt.core.errors import UsageError
from dualrt.core.keeping import Pause
from dualrt.core.learner import Layout, Seat
from dualrt.core.weights import Snapshot


@final
class SDPSGD(Synchronous):
    """Weights to all neighbours, gradient meanwhile, then the average and the update."""

    applies_gradients = True

    def __init__(self, seat: Seat) -> None:
        super().__init__(seat)
        if seat.mixing is None:
            raise UsageError("sd-psgd averages over a graph; give it a [topology]")
        self.mixing = seat.mixing

    @classmethod
    def layout(cls, learners: int) -> Layout:
        """Every learner is a replica and a vertex of the graph."""
        return super().layout(learners)._replace(pause=Pause.ALIGNED)

    async def train(self) -> None:
        """Repeat the equation above until the agreed end."""
        while not self.finished:
            await self.between_steps()
            row = self.mixing.row(self.step)  # T_k
            read = self.weights.snapshot()  # w_k
            mine = self.weights.sent()
            for peer, _ in row:
                await Send(peer, "weights", Packet(mine.versions, mine.vector), self.step)
            gradient = await self.gradient(read)  # g(w_k; xi_k)
            for peer, share in row:
                _, theirs = await Recv("weights", peer)
                await self.blend(mine, Snapshot(theirs.body, theirs.versions), share)
            await self.descend(gradient, read)
