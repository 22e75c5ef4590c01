"""Buckets: a gradient cut into pieces that are ready one after another.

Owns the cutting. Must not know who averages the pieces, nor what that costs.

The backward pass finishes the gradient of the last tensor first. So neighbouring tensors, from the
last one on, fill a bucket until it has reached its size; a tensor is never split, so a bucket may
be larger (Li et al., PyTorch Distributed, arXiv 2006.15704, sec. 3.2).
"""

from __future__ import annotations

from collections.abc import Sequence

DDP_BUCKET_BYTES = 25 * 2**20
"""`bucket_cap_mb` of torch's DistributedDataParallel, by default 25 MiB."""

FIRST_BUCKET_BYTES = 2**20
"""Its first bucket, by default, so that averaging starts early in the backward pass."""


def in_buckets(
    tensors_bytes: Sequence[int], bucket_bytes: int, first_bytes: int | None = None
) -> tuple[int, ...]:
    """Bytes of each bucket, in the order in which the backward pass fills them; at least one.

    `tensors_bytes` are in the model's order. `first_bytes` is the size of the first bucket, if it
    differs from that of the others.
    """
    buckets: list[int] = []
    filling, size_bytes = 0, bucket_bytes if first_bytes is None else first_bytes
    for tensor_bytes in reversed(tensors_bytes):
        filling += tensor_bytes
        if filling >= size_bytes:
            buckets.append(filling)
            filling, size_bytes = 0, bucket_bytes
    if filling or not buckets:
        buckets.append(filling)
    return tuple(buckets)
