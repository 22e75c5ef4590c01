"""Synchronous SGD (1907.05701, eq. 6; SC-PSGD in 2002.10502).

    w_{k+1} = w_k - a_k * mean_i g(w_k; xi_{i,k})

Stale: nothing (staleness is exactly 0). Conserved: trivially, since no weights are averaged; all
learners hold the same weights. Waits for: the slowest learner, each step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

from dualrt.algorithms.synchronous import Collective
from dualrt.core.effects import AllReduce
from dualrt.core.learner import Layout, Strand


@final
class SSGD(Collective):
    """One gradient a learner, their mean by allreduce, the same update everywhere."""

    @classmethod
    def layout(cls, learners: int) -> Layout:
        """One group of all learners, who are in unison."""
        layout = super().layout(learners)
        return layout._replace(unison=(layout.replicas,))

    def strands(self) -> Sequence[Strand]:
        """Training only."""
        return (Strand("train", self.train),)

    async def train(self) -> None:
        """Repeat the equation above until the agreed end."""
        while not self.finished:
            read = self.weights.view()  # w_k
            mine = await self.gradient(read)  # g(w_k; xi_i)
            mean = await AllReduce(self.everyone, mine.vector, spent=True)
            await self.descend(mine._replace(vector=mean), read)
            # Everyone's update is this same one, so it has entered these weights too.
            self.weights.witness(self.everyone.ranks, self.step)
