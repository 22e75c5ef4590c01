"""Gradients that do not depend on the weights, so that of any run it is known where it must end."""

from __future__ import annotations

from torch import Tensor

from dualrt.core.weights import Gradient
from dualrt.workloads.quadratic import Quadratic


class Ledger(Quadratic):
    """A slope that each mini-batch draws anew; the loss is the number of the draw."""

    def gradient(self, at: Tensor, rank: int, draw: int) -> Gradient[Tensor]:
        return Gradient(self._normal(len(at), "slope", rank, draw), float(draw))
