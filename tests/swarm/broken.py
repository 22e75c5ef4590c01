"""Algorithms and a workload with the mistakes that a swarm is there to find."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import torch
from torch import Tensor

from dualrt.algorithms.gossip import Gossiper
from dualrt.core.effects import Packet, Recv, Send, Together
from dualrt.core.learner import Layout, Strand
from dualrt.core.weights import Snapshot
from dualrt.workloads.quadratic import Quadratic
from dualrt.workloads.torch_weights import TorchWeights


class _Trains(Gossiper):
    """AD-PSGD, but for how it answers."""

    @classmethod
    def layout(cls, learners: int, *_: Any, **settings: Any) -> Layout:
        return super().layout(learners)._replace(outlives_peers=True, bears_disorder=True)

    def strands(self) -> Sequence[Strand]:
        return (
            Strand("train", self.train),
            Strand("answer", self.answer, daemon=True),
            Strand("hear", self.hear_the_end, daemon=True),
        )

    async def train(self) -> None:
        while not self.finished:
            read = self.weights.snapshot()
            gradient, _ = await Together(self.gradient(read), self.average(self.step))
            await self.descend(gradient, read)
        await self.spread_the_end()
        await self.exchange.finish()

    async def answer(self) -> None:
        await self.exchange.answer()


@final
class Silent(_Trains):
    """Never answers."""

    async def answer(self) -> None:
        while True:
            await Recv("offer")


@final
class Pedantic(_Trains):
    """Answers no more once a number is missing: no message is ever lost, it believes."""

    async def answer(self) -> None:
        expected: dict[int, int] = {}
        while True:
            initiator, offer = await Recv("offer")
            of, share, life = offer.note
            if of != expected.get(initiator, of):
                continue
            expected[initiator] = of + 1
            mine = self.weights.snapshot()
            await Send(initiator, "answer", Packet(mine.versions, mine.vector, (of, life)))
            await self.blend(mine, Snapshot(offer.body, offer.versions), share)


@final
class Gullible(_Trains):
    """Takes an offer that comes twice for two."""

    async def answer(self) -> None:
        while True:
            initiator, offer = await Recv("offer")
            of, share, life = offer.note
            mine = self.weights.snapshot()
            await Send(initiator, "answer", Packet(mine.versions, mine.vector, (of, life)))
            if offer.body is not None:
                await self.blend(mine, Snapshot(offer.body, offer.versions), share)


class _CurrentWeights(TorchWeights):
    """Averages a peer's weights with its current ones, and so forgets what landed meanwhile."""

    def _add(self, share: float, theirs: Tensor, mine: Tensor) -> None:
        super()._add(share, theirs, self._copy())


@final
class Forgetful(Quadratic):
    """The quadratic, with weights that average as earlier systems do."""

    def weights(self, rank: int) -> TorchWeights:
        return _CurrentWeights(rank, self._learners, torch.zeros_like(self.optimum), audit=True)
