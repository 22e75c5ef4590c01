"""The user's loop as a workload, whose gradients are what the loop did.

Owns the turns: the learner's strand asks for a gradient at some weights and waits; the user's
thread puts the model there, computes, and gives what came of it. Must not know which algorithm
asks.

What is given, and what a learner then applies with rate 1, is the *update* w_before - w_after that
the loop made between two steps: by any optimizer at any learning rate, clipped, accumulated, scaled
or skipped. A learner that has moved meanwhile by averaging applies it to where it is by then, which
is its paper's equation.

Only where learners average gradients before anything is applied (SSGD), the update comes too late:
an optimizer such as Adam must see the mean. There the gradient itself is given when the optimizer
is about to step, and applying it is leaving the optimizer to its step (`SteppedWeights`).

On a GPU the user's thread goes on in the CUDA stream that it uses, and to hand something over waits
for no device: that has an event. But the driver waits for the device at the end of each gradient,
so the learner asks for the next when the last is done there, and the user's thread waits to be
asked. Work of other streams must have been joined before `group.step()`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import final

import torch
from torch import Tensor

from dualrt.core.effects import Cost
from dualrt.core.keeping import State
from dualrt.core.versions import Staleness
from dualrt.core.weights import Gradient, Weights
from dualrt.loop.belongings import Belongings
from dualrt.loop.handover import Handover
from dualrt.loop.parameters import FlatParameters
from dualrt.real.gate import Gate
from dualrt.workloads.torch_order import Handed
from dualrt.workloads.torch_vectors import consensus, digest, fresh_like
from dualrt.workloads.torch_weights import TorchWeights


@final
class OwnLoop:
    """A `Workload` of which another thread of the process does the work.

    `gradients` says whether it gives gradients, and not updates; `belongings` are kept with the
    weights.
    """

    def __init__(
        self,
        parameters: FlatParameters,
        *,
        learners: int,
        batch: int,
        samples_per_epoch: int,
        gradients: bool,
        audit: bool,
        belongings: Belongings,
    ) -> None:
        self.belongings = belongings
        self.batch, self.samples_per_epoch = batch, samples_per_epoch
        self.gradient_cost = Cost("gradient", samples=batch)
        self.gives_gradients = gradients
        self._parameters, self._learners, self._audit = parameters, learners, audit
        self._gate = Gate()
        self._asked: Handover[Handed | None] = Handover(self._gate)
        self._given: Handover[Handed] = Handover(self._gate)
        self._means: Handover[Handed] = Handover(self._gate)
        self._steps: Handover[Handed] = Handover(self._gate)
        self._at = parameters.vector
        self._left = False

    # What a learner asks, on a thread of its own.

    def weights(self, rank: int) -> Weights[Tensor]:
        """Weights that begin where the model's parameters are now."""
        parameters, learners = self._parameters, self._learners
        make = SteppedWeights if self.gives_gradients else LoopWeights
        sizes = parameters.sizes
        return make(self, rank, learners, parameters.vector, tensors=sizes, audit=self._audit)

    def gradient(self, at: Tensor, rank: int, draw: int) -> Gradient[Tensor]:
        """What the loop gives; once it was left, nothing, at once.

        Who leaves owes the others the rest of the step that is under way.
        """
        if self._left:
            return Gradient(torch.zeros_like(at), None)
        self._asked.put(Handed.over(at))
        return Gradient(self._given.take().taken(), None)

    def evaluate(self, at: Tensor) -> Mapping[str, float]:
        """Nothing: the loop knows how."""
        return {}

    def consensus(self, vectors: Sequence[Tensor]) -> tuple[Tensor, float]:
        """The mean model and the consensus distance; see `torch_vectors.consensus`."""
        return consensus(vectors)

    def digest(self, vector: Tensor) -> bytes:
        """A hash of the vector's exact bits; 16 bytes."""
        return digest(vector)

    def stepped(self, mean: Tensor) -> Tensor:
        """Have the optimizer step with a gradient; the weights then."""
        self._means.put(Handed.over(mean))
        return self._steps.take().taken()

    # What the user's thread says.

    @property
    def left(self) -> bool:
        """Whether the user's thread will give nothing any more."""
        return self._left

    def await_turn(self) -> bool:
        """Wait until the learner asks, and put the model where it asks; False if it is over.

        Raises what `close` was called with.
        """
        asked = self._asked.take()
        if asked is None:
            return False
        self._at = asked.taken()
        self._parameters.vector.copy_(self._at)
        return True

    def give_update(self) -> None:
        """Give what the loop did to the parameters since `await_turn`."""
        vector = self._parameters.vector
        update = torch.sub(self._at, vector, out=fresh_like(vector))
        self._given.put(Handed.over(update))

    def exchange_gradient(self, gradient: Tensor) -> Tensor:
        """Give a gradient, and wait for what is to be applied instead."""
        self._given.put(Handed.over(gradient))
        return self._means.take().taken()

    def give_step(self) -> None:
        """The optimizer has applied what `exchange_gradient` returned."""
        self._steps.put(Handed.over(self._parameters.vector))

    def leave(self) -> None:
        """Give nothing any more, and let the learner come to its end; between steps only."""
        self._left = True
        self._given.put(Handed.over(torch.zeros_like(self._parameters.vector)))

    # What whoever runs the learner says.

    def end(self) -> None:
        """The learner has ended."""
        self._asked.put(None)

    def close(self, error: BaseException) -> None:
        """The learner has failed: end all waits with its error."""
        self._gate.close(error)


class LoopWeights(TorchWeights):
    """Weights to which nothing is applied any more once the loop was left."""

    def __init__(
        self,
        loop: OwnLoop,
        rank: int,
        learners: int,
        initial: Tensor,
        *,
        tensors: Sequence[int],
        audit: bool,
    ) -> None:
        super().__init__(rank, learners, initial, tensors=tensors, audit=audit)
        self.loop = loop

    def _kept(self) -> State:
        # Between two steps: the loop's thread waits for its turn.
        state = super()._kept()
        self.loop.belongings.add_to(state)
        return state

    def _take_back(self, state: State) -> None:
        super()._take_back(state)
        self.loop.belongings.take_from(state)

    def descend(self, gradient: Tensor, learning_rate: float, read: Sequence[int]) -> Staleness:
        """As any weights; what a loop gives that was left is nothing, and does not count."""
        if self.loop.left:
            with self._lock:
                return self.versions.since(read)
        return super().descend(gradient, learning_rate, read)


@final
class SteppedWeights(LoopWeights):
    """Weights whose descent is a step of the user's optimizer, on the model itself."""

    def _step(self, gradient: Tensor, learning_rate: float) -> None:
        self._replace(self.loop.stepped(gradient))
