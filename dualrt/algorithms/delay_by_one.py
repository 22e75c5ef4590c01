"""Delay-by-one SGD (D1D of 2002.01119; HYBRID of 1904.04956).

    w_{i,k+1} = mean_j w_{j,k} - a_k g(w_{i,k}; xi_{i,k})

The full average is an allreduce that overlaps the gradient of the same step.

Stale: the gradient misses everyone else's k-th update, so staleness is exactly 1. Conserved: the
full average leaves the sum as it is. Waits for: the slowest learner, each step, but not for the
network as long as the allreduce is shorter than the gradient.
"""

from __future__ import annotations

from typing import Any, final

from dualrt.algorithms.synchronous import Collective
from dualrt.core.effects import AllReduce, Place, Together
from dualrt.core.weights import Snapshot


@final
class DelayByOne(Collective):
    """SSGD's full average, taken of the weights while the next gradient is computed."""

    async def train(self) -> None:
        """Repeat the equation above until the agreed end."""
        while not self.finished:
            await self.between_steps()
            mine = self.weights.snapshot()  # w_{i,k}
            gradient, mean = await Together(self.gradient(mine), self.mean_of(mine))
            await self.blend(mine, mean, share=1.0, on=Place.DEVICE)
            await self.descend(gradient, mine)

    async def mean_of(self, mine: Snapshot[Any]) -> Snapshot[Any]:
        """mean_j w_{j,k}, which holds the first k updates of every learner."""
        level = self.level
        return Snapshot(await AllReduce(self.everyone, mine.vector), level)
