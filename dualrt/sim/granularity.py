"""Granularity: into how many collectives a model-sized vector is cut.

Owns the cutting. Must not know what a collective costs: its pieces are called one after another,
and each pays its own latency.

Three ways are in use. Averaging *weights*, or gradients that are one flat vector, is one collective
for the whole `model`. Gradients of torch's DistributedDataParallel go in `buckets`
(`dualrt.core.buckets`; its smaller first bucket, which only starts the overlap with the backward
pass earlier, is left out). And a loop over the parameters with an allreduce in it, as MPI code of
the time of arXiv 1904.04956 had it, is one collective a `tensor`.

This is about a vector that is there as a whole. A gradient that is averaged while it is being
computed comes in the pieces that its learner names (`dualrt.core.effects.MeanGradient`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

from dualrt.core.buckets import DDP_BUCKET_BYTES, in_buckets

Granularity: TypeAlias = Literal["model", "buckets", "tensor"]


def cut(
    tensors_bytes: Sequence[int], granularity: Granularity, bucket_bytes: int = DDP_BUCKET_BYTES
) -> tuple[int, ...]:
    """Bytes of each collective that a vector of these tensors takes, in the order of the calls.

    `bucket_bytes` counts for buckets only.
    """
    if granularity == "model":
        return (sum(tensors_bytes),)
    if granularity == "tensor":
        return tuple(tensors_bytes)
    return in_buckets(tensors_bytes, bucket_bytes)
