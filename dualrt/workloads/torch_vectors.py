"""Vectors: what is computed over flat torch tensors, whoever's they are.

Owns memory for new ones, the fused blend, clipping, the mean over learners and the digest of exact
bits. Must not know whose weights they are, nor when they change.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from hashlib import blake2b
from typing import Any, TypeAlias

import torch
from torch import Tensor

from dualrt.core.pool import SMALLEST_BYTES, Pool

BLEND = """
template <typename T>
T blend(T own, T theirs, T mine, T share) {
    return own + share * (theirs - mine);
}
"""
"""In one pass: three vectors are read and one is written. In full precision, to which narrower
entries are converted as they are read."""

Blend: TypeAlias = Callable[[Tensor, Tensor, Tensor, float], Tensor]

# Of all learners of the process: weights and gradients that nobody reads any more.
_VECTORS = Pool(4)


def fresh_like(vector: Tensor) -> Tensor:
    """A vector of the same size, type and place, with anything in it; of used memory if large."""
    if vector.device.type != "cpu" or vector.nbytes < SMALLEST_BYTES:
        return torch.empty_like(vector)
    return torch.frombuffer(_VECTORS.take(vector.nbytes), dtype=vector.dtype)


@cache
def fused_blend(device_type: str) -> Blend | None:
    """w + share * (theirs - mine) in one kernel, as a new vector; None where there is none.

    torch compiles it when it is first called, by CUDA's own compiler for such: no other is needed.
    """
    jiterator: Any = getattr(torch.cuda, "jiterator", None)
    if device_type != "cuda" or jiterator is None or torch.version.cuda is None:
        return None
    blend = jiterator._create_jit_fn(BLEND, share=0.0)

    def blended(own: Tensor, theirs: Tensor, mine: Tensor, share: float) -> Tensor:
        # It is launched on the thread's current device, whatever the tensors'.
        with torch.cuda.device(own.device):
            fresh: Tensor = blend(own.detach(), theirs, mine, share=share)
        return fresh

    return blended


def clipped(gradient: Tensor, most: float) -> Tensor:
    """The gradient, or a smaller copy: as torch.nn.utils.clip_grad_norm_, which writes to it."""
    share = most / (torch.linalg.vector_norm(gradient) + 1e-6)
    # On a GPU to look at it would be to wait for it, with the weights locked.
    if gradient.device.type == "cpu" and share >= 1:
        return gradient
    return torch.mul(gradient, share.clamp_(max=1.0), out=fresh_like(gradient))


def kept_copy(tensor: Tensor) -> Tensor:
    """On the host; done when it returns."""
    return tensor.detach().cpu() if tensor.is_cuda else tensor.detach().clone()


def consensus(vectors: Sequence[Tensor]) -> tuple[Tensor, float]:
    """The mean over learners, summed in float64 in rank order, and the consensus distance.

    The distance is sqrt(mean_i ||w_i - mean||^2), to the mean before it is rounded to the vectors'
    own type. Raises ValueError as `mean_of` does.
    """
    mean = mean_of(vectors)
    squares = sum(float((vector - mean).square_().sum()) for vector in vectors)
    return mean.to(vectors[0].dtype), math.sqrt(squares / len(vectors))


def mean_of(vectors: Sequence[Tensor]) -> Tensor:
    """In float64, summed in the order given. Raises ValueError if there is no vector."""
    if not vectors:
        raise ValueError("the mean of no vectors is not defined")
    mean = torch.zeros_like(vectors[0], dtype=torch.float64)
    for vector in vectors:
        mean.add_(vector)
    return mean.div_(len(vectors))


def digest(vector: Tensor) -> bytes:
    """A hash of the exact bits of a flat vector; 16 bytes."""
    bits = vector.detach().cpu().contiguous().view(torch.uint8)
    return blake2b(bits.numpy().data, digest_size=16).digest()
