"""Asynchronous SGD with a parameter server (1907.05701, eq. 5), for comparison.

    W_{k+1} = W_k - a_k g(W_{k - tau_k}; xi_k)

Learner 0 serves the weights beside its own training; every learner pulls, computes, pushes.

Stale: tau_k, the updates that the server applied between a learner's pull and the application of
its gradient: about n - 1. Conserved: nothing is averaged; there is one replica. Waits for: the
server's link and memory, which all learners share.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

from dualrt.core.effects import Packet, Place, Recv, Send
from dualrt.core.keeping import Pause, State
from dualrt.core.learner import Layout, Learner, Seat, Strand
from dualrt.core.weights import Gradient, Snapshot

SERVER = 0


@final
class ASGD(Learner):
    """Pull, compute, push; the server applies gradients as they come."""

    def __init__(self, seat: Seat) -> None:
        super().__init__(seat)
        self.request = Packet()
        """What is pushed next: nothing, or a gradient."""

    @classmethod
    def layout(cls, learners: int) -> Layout:
        """No graph and no group; the server's weights are the model."""
        return Layout(replicas=(SERVER,), pause=Pause.DRAINED)

    def state(self) -> State:
        """A gradient that was not pushed is left out: its mini-batch is drawn again."""
        state = super().state()
        if self.request.body is not None:
            state.values["draws"] -= 1
        return state

    def strands(self) -> Sequence[Strand]:
        """Training everywhere, serving at the server."""
        train = Strand("train", self.train)
        if self.rank != SERVER:
            return (train,)
        return (train, Strand("serve", self.serve, daemon=True))

    async def train(self) -> None:
        """A push is answered by the next weights, or by the word that it is over."""
        while True:
            await self.between_steps()
            await Send(SERVER, "push", self.request)
            _, reply = await Recv("pull", SERVER)
            if reply.body is None:
                return
            read = Snapshot(reply.body, reply.versions)  # W_{k - tau}
            gradient = await self.gradient(read)
            self.request = Packet(read.versions, gradient.vector, gradient.loss)

    async def serve(self) -> None:
        """Apply what was pushed, in the order of arrival, and answer with the weights."""
        while True:
            learner, push = await Recv("push")
            if push.body is not None and not self.finished:
                pushed = Snapshot(None, push.versions)
                # In the server's memory: its device is busy with its own gradients.
                await self.descend(Gradient(push.body, push.note), pushed, Place.HOST)
            if self.finished:
                await Send(learner, "pull", Packet())
            else:
                now = self.weights.snapshot()
                await Send(learner, "pull", Packet(now.versions, now.vector))
