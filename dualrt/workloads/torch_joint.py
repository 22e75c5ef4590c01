"""Gradients of one torch module at many points in one go.

Owns the vectorised evaluation and the judgement whether it pays. Must not know where points and
samples come from.

A small module spends its time on calls, not on arithmetic: with 64 learners a gradient of the
digits' network takes 0.3 ms by itself and a sixth of that in a stack. `torch.vmap` turns the
forward pass into one of stacked matrices; the points do not share anything, so the gradient of the
sum of their losses is the stack of their gradients.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn

SMALL_PARAMETERS = 1 << 16
"""Of a larger module a stack does not stay in a CPU's cache, and gains nothing."""

SMALL_FLOPS = 25e6
"""Arithmetic of a gradient from which calls no longer matter."""

FEW = 6
"""Fewer than so many gradients are faster one by one: a stack has costs of its own."""

_MOST = 256
_STACK = 1 << 22


class JointModule:
    """A module and its loss, evaluated at stacks of flat parameter vectors.

    Parameters: `loss` is a mean over samples of outputs and targets. The module itself is only
    read.
    """

    def __init__(self, module: nn.Module, loss: Callable[[Tensor, Tensor], Tensor]) -> None:
        self._module, self._loss = module, loss
        self._trained = {n: p for n, p in module.named_parameters() if p.requires_grad}
        self._sizes = [parameter.numel() for parameter in self._trained.values()]
        # An operation without a rule of its own would run one by one and warn; one that draws
        # random numbers would not draw those of its learner.
        self._losses = torch.vmap(self._loss_at, randomness="error")

    def gradients(self, points: Tensor, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients of shape [points, parameters] and losses of shape [points].

        `points` has shape [points, parameters]; the first dimension of the others counts points
        too, the second samples. Raises whatever a module raises that vmap cannot take.
        """
        points = points.detach().requires_grad_()
        losses = self._losses(points, inputs, targets)
        (gradients,) = torch.autograd.grad(losses.sum(), points)
        return gradients, losses.detach()

    def at_once(self, flops: float, inputs: Tensor, targets: Tensor) -> int:
        """The most gradients of `flops` that pay to be taken together; 1 if none do.

        Tries it on samples of two points, shaped as for `gradients`.
        """
        parameters = sum(self._sizes)
        if parameters > SMALL_PARAMETERS or flops > SMALL_FLOPS:
            return 1
        point = torch.cat([part.detach().reshape(-1) for part in self._trained.values()])
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                self.gradients(torch.stack([point, point]), inputs, targets)
        except Exception:
            # A user's module, and vmap's own errors have no type in common.
            return 1
        return min(_MOST, _STACK // parameters)

    def _loss_at(self, point: Tensor, inputs: Tensor, targets: Tensor) -> Tensor:
        parts = torch.split(point, self._sizes)
        named = {
            name: part.view_as(parameter)
            for (name, parameter), part in zip(self._trained.items(), parts, strict=True)
        }
        return self._loss(torch.func.functional_call(self._module, named, (inputs,)), targets)
