"""Stochastic gradient push (1811.10792, alg. 1): synchronous, along edges that go one way.

Learner i holds x_i and a push-sum weight w_i, which starts at 1; z_i = x_i / w_i is its model.

    x_i^{k+1/2} = x_i^k - a_k g(z_i^k; xi_{i,k})
    x_i^{k+1}   = sum_j p_ij x_j^{k+1/2}            } p_ij: the part of its x and w that j pushes
    w_i^{k+1}   = sum_j p_ij w_j^k                  } to i; what each gives away sums to 1

Only z is kept here, in which the same reads

    z_i^{k+1/2} = z_i^k - (a_k / w_i^k) g
    z_i^{k+1}   = z_i^{k+1/2} + sum_j (p_ij w_j^k / w_i^{k+1}) (z_j^{k+1/2} - z_i^{k+1/2})

so a push is a blend. Columns of P sum to 1, rows need not: a learner to which more is pushed than
it gives away grows heavy, and w takes that out again. On a schedule that is doubly stochastic, as
one-peer exponential is, w stays 1.

Where what is sent is narrowed, to h_i, what i gives away is w_i h_i at both ends, and what it keeps
is exact. So h takes the place of both z in that sum, and where the mass changes a term more is due:

    w_i^{k+1} z_i^{k+1} = w_i^k z_i^{k+1/2} + sum_j p_ij w_j^k h_j - (1 - p_ii) w_i^k h_i
    z_i^{k+1} = z_i^{k+1/2} + sum_j (p_ij w_j^k / w_i^{k+1}) (h_j - h_i)
                + (1 - w_i^k / w_i^{k+1}) (h_i - z_i^{k+1/2})             with j other than i

Stale: nothing of its own; of others, what they have pushed. Conserved: the sum over learners of
w_i z_i, but for the applied gradients a_k g. Waits for: those who push to it in this round.
"""

from __future__ import annotations

from math import isclose
from typing import final

from dualrt.algorithms.synchronous import Synchronous
from dualrt.core.effects import Packet, Recv, Send
from dualrt.core.errors import UsageError
from dualrt.core.keeping import Pause, State
from dualrt.core.learner import Layout, Seat
from dualrt.core.weights import FULL, Snapshot

_SAME_MASS = 1e-12
"""Where as much comes back as was given, as on a regular graph, it is rounding that differs."""


@final
class SGP(Synchronous):
    """Gradient, update, push; the mass that comes back says how much each model counts."""

    def __init__(self, seat: Seat) -> None:
        super().__init__(seat)
        if seat.mixing is None:
            raise UsageError("sgp pushes along a graph; give it a [topology]")
        self.mixing = seat.mixing

    @property
    def mass(self) -> float:
        """The push-sum weight, w_i."""
        return self.weights.mass

    @classmethod
    def layout(cls, learners: int) -> Layout:
        """All learners are vertices of a graph that may be directed."""
        return super().layout(learners)._replace(directed=True, pause=Pause.ALIGNED)

    def state(self) -> State:
        """With the mass."""
        state = super().state()
        state.values["mass"] = self.mass
        return state

    def restore(self, state: State) -> None:
        """With the mass."""
        super().restore(state)
        self.weights.mass = state.values["mass"]

    async def train(self) -> None:
        """Repeat the equations above until the agreed end."""
        while not self.finished:
            await self.between_steps()
            round_ = self.step
            read = self.weights.snapshot()  # z_i^k
            gradient = await self.gradient(read)  # g(z_i^k; xi_{i,k})
            await self.descend(gradient, read, scale=1 / self.mass)  # z_i^{k+1/2}
            await self.push(round_)

    async def push(self, round_: int) -> None:
        """Give mass away with the model that it counts for, and weigh in what comes."""
        half = self.weights.sent()
        exact = None if self.weights.wire == FULL else self.weights.snapshot()
        before = kept = self.mass
        for peer, part in self.mixing.initiates(round_):
            given = part * self.mass  # p_ji w_i^k
            kept -= given
            await Send(peer, "push", Packet(half.versions, half.vector, given), round_)
        came = [await Recv("push", peer) for peer, _ in self.mixing.row(round_)]
        self.weights.mass = kept + sum(packet.note for _, packet in came)  # w_i^{k+1}
        for _, packet in came:
            theirs = Snapshot(packet.body, packet.versions)
            await self.blend(half, theirs, packet.note / self.mass)
        if exact is not None and not isclose(before, self.mass, rel_tol=_SAME_MASS):
            await self.blend(exact, half, 1 - before / self.mass)
