"""Optimizer: what makes a learner's optimizer, and which ones a flat vector can have.

Owns both. Must not know when a step is made.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from dualrt.core.errors import UsageError

OptimizerFactory: TypeAlias = Callable[[list[Tensor]], torch.optim.Optimizer]
"""Makes the optimizer of one learner for its list of tensors, which holds the flat vector only."""


def sgd(
    momentum: float = 0.0, weight_decay: float = 0.0, nesterov: bool = False
) -> OptimizerFactory | None:
    """A factory of stochastic gradient descent with the classical options.

    None if there are none: w <- w - a g needs no optimizer, and torch's would load its compiler
    first, which takes seconds in every process.
    """
    if not (momentum or weight_decay or nesterov):
        return None

    def make(tensors: list[Tensor]) -> torch.optim.Optimizer:
        return torch.optim.SGD(
            tensors, lr=0.0, momentum=momentum, weight_decay=weight_decay, nesterov=nesterov
        )

    return make


def checked(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """The optimizer, made ready for one flat vector. Raises UsageError if it cannot be used."""
    if isinstance(optimizer, torch.optim.LBFGS):
        raise UsageError(
            "optimizer LBFGS: it evaluates the model several times a step, and a learner "
            "applies one gradient a step. Choose one that needs only the gradient, like SGD."
        )
    for group in optimizer.param_groups:
        # The multi-tensor paths gain nothing on one tensor, and some write to the gradient
        # (Nesterov momentum does).
        if "foreach" in group:
            group["foreach"] = False
    return optimizer
