"""A learner that prints while it trains."""

from __future__ import annotations

from typing import final

from dualrt.algorithms.synchronous import Synchronous


@final
class Chatty(Synchronous):
    """Says where it is, with and without an end of line."""

    async def train(self) -> None:
        while not self.finished:
            print("a line of learner", self.rank, flush=True)
            print("no end of line", end="", flush=True)
            read = self.weights.snapshot()
            await self.descend(await self.gradient(read), read)
