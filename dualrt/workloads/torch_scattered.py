"""Gradients as autograd leaves them: a tensor for each parameter, and no flat vector.

Owns the form. Must not know a model, nor what is done along a gradient.

To gather one copies all of it. Weights that have no optimizer descend along the tensors as they
are: an AD-PSGD step of a network of 2.2 M parameters takes 16.3 ms of processor time instead of
17.4 (docs/benchmarks.md#training-beside-peers).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

LEAST_BYTES = 64 * 1024
"""Of a parameter, on average: what is smaller is gathered faster than it is gone along."""


class Scattered(NamedTuple):
    """A gradient whose tensors, of any shape, follow one another in the flat vector."""

    tensors: Sequence[Tensor]

    def gathered(self, out: Tensor | None = None) -> Tensor:
        """As one flat vector."""
        return torch.cat([tensor.reshape(-1) for tensor in self.tensors], out=out)

    def is_beside(self, vector: Tensor) -> bool:
        """Whether none of it lies where the vector changes before it is read.

        A loss may return its own input. What lies where it is applied is read in time.
        """
        memory, at = vector.untyped_storage().data_ptr(), vector.data_ptr()
        for tensor in self.tensors:
            within = tensor.untyped_storage().data_ptr() == memory
            if within and not (tensor.data_ptr() == at and tensor.is_contiguous()):
                return False
            at += tensor.nbytes
        return True
