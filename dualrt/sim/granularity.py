"""Granularity: into how many collectives a model-sized vector is cut.

Owns the cutting. Must not know what a collective costs: its pieces are called one after another,
and each pays its own latency.

Three ways are in use. Averaging *weights*, or gradients that are one flat vector, is one collective
for the whole `model`. Gradients of torch's DistributedDataParallel go in `buckets`: neighbouring
tensors, from the last one on because gradients are ready in that order, until a bucket has reached
its size; a tensor is never split, so a bucket may be larger (Li et al., PyTorch Distributed,
arXiv 2006.15704, sec. 3.2; its smaller first bucket, which only starts the overlap with the
backward pass earlier, is left out). And a loop over the parameters with an allreduce in it, as MPI
code of the time of arXiv 1904.04956 had it, is one collective a `tensor`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

Granularity: TypeAlias = Literal["model", "buckets", "tensor"]

DDP_BUCKET_BYTES = 25 * 2**20
"""`bucket_cap_mb` of DistributedDataParallel, by default 25 MiB."""


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
    buckets: list[int] = []
    filling = 0
    for size_bytes in reversed(tensors_bytes):
        filling += size_bytes
        if filling >= bucket_bytes:
            buckets.append(filling)
            filling = 0
    if filling or not buckets:
        buckets.append(filling)
    return tuple(buckets)
