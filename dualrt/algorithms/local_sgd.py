"""Local SGD with periodic averaging (1805.09767), for comparison.

    w_{i,k+1} = w_{i,k} - a_k g(w_{i,k}; xi_{i,k}),   and  w_i = mean_j w_j  after every H-th step

Stale: nothing within a learner; others' updates arrive only with the average, when no gradient is
under way, so staleness is 0 (the drift between averages shows as consensus distance instead).
Conserved: the average leaves the sum as it is. Waits for: the slowest learner, every H steps.
"""

from __future__ import annotations

from typing import final

from dualrt.algorithms.period import check_period
from dualrt.algorithms.synchronous import Collective
from dualrt.core.effects import AllReduce
from dualrt.core.learner import Layout, Seat
from dualrt.core.weights import Snapshot


@final
class LocalSGD(Collective):
    """H steps alone, then the mean of all; `period` is H."""

    applies_gradients = True

    def __init__(self, seat: Seat, *, period: int = 8) -> None:
        super().__init__(seat)
        self.period = period

    @classmethod
    def layout(cls, learners: int, *, period: int = 8) -> Layout:
        """One group of all learners, who are in unison.

        Raises UsageError unless `period` is at least 1.
        """
        check_period(period)
        layout = super().layout(learners)
        return layout._replace(unison=(layout.replicas,))

    async def train(self) -> None:
        """Steps and averages by turns; the last is always an average."""
        while not self.finished:
            await self.between_steps()
            await self.steps_alone()
            mine = self.weights.view()
            level = self.level
            # In their place, where the driver can.
            mean = await AllReduce(self.everyone, mine.vector, spent=True)
            self.weights.adopt(Snapshot(mean, level))

    async def steps_alone(self) -> None:
        """H steps on the learner's own weights, or fewer at the end of the run."""
        for _ in range(self.period):
            if self.finished:
                return
            read = self.weights.view()
            await self.descend(await self.gradient(read), read)
