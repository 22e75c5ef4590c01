"""Asynchronous decentralised parallel SGD (1710.06952; 2110.11199, alg. 1; 1907.05701, sec. 3).

Each learner, with no barrier, repeats

    g       = g(w_k; xi_k)                 } concurrently
    w_{k+1/2} = sum_j t_ij w_j             }
    w_{k+1} = w_{k+1/2} - a g

Stale: w moves by averaging while g is being computed, both by the exchange that this learner
starts and by those that it answers. Conserved: the sum over learners of weights, but for the
applied gradients. Waits for: the answer to its own offer, which needs no step of the peer's; with
`exchange = "lock"`, the papers' own protocol, for what `dualrt.algorithms.lock` says.

The mixing plan says with whom and how much: left and right by turns with 1/2 each (1907.05701),
both neighbours with 1/3 each (2002.01119), or 1/3 on a ring drawn afresh each round (2110.11199).

`period` = H has a learner start exchanges in every H-th of its steps only, where bytes or
processors are scarce; it answers others at any time. The papers' is 1.

`overlap` = K lets it take up to K steps beside one exchange rather than wait, where a message takes
longer than a gradient: then w_{k+1} = w_k - a g(w_k) until the average is there. With 1, as in
1904.04956, there is one exchange for each gradient.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

from dualrt.algorithms.gossip import WAYS, Gossiper, Way, check_overlap
from dualrt.algorithms.period import check_period
from dualrt.core.effects import Together
from dualrt.core.keeping import Pause
from dualrt.core.learner import Layout, Strand


@final
class ADPSGD(Gossiper):
    """Gradient and averaging at once, each learner at its own pace."""

    applies_gradients = True

    @classmethod
    def layout(
        cls, learners: int, *, exchange: Way = "delta", period: int = 1, overlap: int = 1
    ) -> Layout:
        """Every learner is a replica and a vertex of the graph.

        Raises UsageError unless `period` and `overlap` are at least 1, and where the exchange
        leaves no room for an overlap.
        """
        check_period(period)
        check_overlap(overlap, exchange)
        way = WAYS[exchange]
        return (
            super()
            .layout(learners)
            ._replace(
                one_sided=way.one_sided,
                outlives_peers=way.outlives_peers,
                takes_back=way.outlives_peers,
                bears_disorder=way.bears_disorder,
                in_parts=True,
                pause=Pause.DRAINED,
            )
        )

    def strands(self) -> Sequence[Strand]:
        """Training, and answering others meanwhile."""
        train = self.train if self.overlap == 1 else self.train_ahead
        return (Strand("train", train), *self.listeners())

    async def train(self) -> None:
        """Repeat the equations above until the agreed end."""
        while not self.finished:
            await self.between_steps()
            read = self.weights.snapshot()  # w_k
            gradient, _ = await Together(
                self.gradient(read),  # g(w_k; xi_k)
                self.average(self.step),  # w_{k+1/2} = sum_j t_ij w_j
            )
            await self.update(gradient, read)  # w_{k+1} = w_{k+1/2} - a g
        await self.end_it()

    async def train_ahead(self) -> None:
        """The same with an `overlap`: what is averaged arrives when it does."""
        while not self.finished:
            await self.between_steps()
            await Together(self.steps_ahead(), self.average_meanwhile())
        await self.end_it()

    async def steps_ahead(self) -> None:
        """One step, and others while the exchange is under way."""
        ahead = True
        while ahead:
            read = self.weights.snapshot()  # w_k
            await self.update(await self.gradient(read), read)  # w_{k+1} = w_k - a g(w_k; xi_k)
            ahead = self.goes_ahead()

    async def end_it(self) -> None:
        """Tell others, and wait for what was late."""
        await self.spread_the_end()
        await self.exchange.finish()
