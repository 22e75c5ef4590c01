"""Gradients of one torch module at many points in one go.

Owns the vectorised evaluation and the judgement whether it pays. Must not know where points and
samples come from.

A small module spends its time on calls, not on arithmetic (benchmarks/numerics.py). `torch.vmap`
turns its forward pass into one of stacked matrices. The points share nothing, so the gradient of
the sum of their losses is the stack of their gradients.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from dualrt.core.weights import Gradient

SMALL_PARAMETERS = 1 << 16
"""Of a larger module a stack does not stay in a CPU's cache, and gains nothing."""

SMALL_FLOPS = 25e6
"""Arithmetic of a gradient from which calls no longer matter."""

FEW = 6
"""Fewer than so many gradients are faster one by one: a stack has costs of its own."""

_MOST = 256
_STACK = 1 << 22


class JointModule:
    """A module and its loss, evaluated at many flat parameter vectors in one go.

    Parameters: `loss` is a mean over samples of outputs and targets. The module itself is only
    read. Not thread-safe: stacks are kept from call to call, because the system hands out fresh
    memory by the page, which took a quarter of the time.
    """

    def __init__(self, module: nn.Module, loss: Callable[[Tensor, Tensor], Tensor]) -> None:
        self._module, self._loss = module, loss
        self._trained = {n: p for n, p in module.named_parameters() if p.requires_grad}
        self._sizes = [parameter.numel() for parameter in self._trained.values()]
        self._points = self._gradients = torch.empty(0)
        # An operation without a rule of its own would run one by one and warn; one that draws
        # random numbers would not draw those of its learner.
        self._losses = torch.vmap(self._loss_of, randomness="error")

    def gradients(
        self, points: Sequence[Tensor], inputs: Tensor, targets: Tensor
    ) -> list[Gradient[Tensor]]:
        """The gradient at each of the points, which are flat vectors.

        The first dimension of `inputs` and `targets` counts points, the second samples. Raises
        whatever a module raises that vmap cannot take.
        """
        self._reserve(points)
        stack = torch.stack(tuple(points), out=self._points[: len(points)])
        parts = [
            part.view(len(points), *parameter.shape).requires_grad_()
            for part, parameter in zip(
                torch.split(stack, self._sizes, dim=1), self._trained.values(), strict=True
            )
        ]
        losses = self._losses(parts, inputs, targets)
        slopes = torch.autograd.grad(losses.sum(), parts, materialize_grads=True)
        rows = torch.cat(
            [slope.flatten(1) for slope in slopes], dim=1, out=self._gradients[: len(points)]
        )
        return [
            Gradient(row.clone(), loss) for row, loss in zip(rows, losses.tolist(), strict=True)
        ]

    def at_once(self, flops: float, inputs: Tensor, targets: Tensor) -> int:
        """The most gradients of `flops` that pay to be taken together; 1 if none do.

        Tries it with samples of two points, shaped as for `gradients`.
        """
        parameters = sum(self._sizes)
        if parameters > SMALL_PARAMETERS or flops > SMALL_FLOPS:
            return 1
        point = torch.cat([part.detach().reshape(-1) for part in self._trained.values()])
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                self.gradients((point, point), inputs, targets)
        except Exception:
            # A user's module, and vmap's own errors have no type in common.
            return 1
        return min(_MOST, _STACK // parameters)

    def _reserve(self, points: Sequence[Tensor]) -> None:
        if len(points) > len(self._points):
            self._points, self._gradients = (
                points[0].new_empty(len(points), len(points[0])) for _ in range(2)
            )

    def _loss_of(self, parts: list[Tensor], inputs: Tensor, targets: Tensor) -> Tensor:
        named = dict(zip(self._trained, parts, strict=True))
        return self._loss(torch.func.functional_call(self._module, named, (inputs,)), targets)
