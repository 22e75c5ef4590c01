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


LAST_BUCKET_BYTES = 2**20
"""The most of our last bucket, where tensors allow: nothing is computed while it is averaged."""


def in_buckets(
    tensors_bytes: Sequence[int],
    bucket_bytes: int,
    first_bytes: int | None = None,
    last_bytes: int | None = None,
) -> tuple[int, ...]:
    """Bytes of each bucket, in the order in which the backward pass fills them; at least one.

    `tensors_bytes` are in the model's order. `first_bytes` is the size of the first bucket, if it
    differs from that of the others. A last one of more than `last_bytes` is two: the tensors at the
    model's beginning, as many as make no more than that, but one at least, are by themselves.
    """
    buckets: list[list[int]] = [[]]
    size_bytes = bucket_bytes if first_bytes is None else first_bytes
    for tensor_bytes in reversed(tensors_bytes):
        if buckets[-1] and sum(buckets[-1]) >= size_bytes:
            buckets.append([])
            size_bytes = bucket_bytes
        buckets[-1].append(tensor_bytes)
    last = buckets[-1]
    if last_bytes is not None and sum(last) > last_bytes:
        tail = 1
        while tail < len(last) and sum(last[-tail - 1 :]) <= last_bytes:
            tail += 1
        buckets[-1:] = [part for part in (last[:-tail], last[-tail:]) if part]
    return tuple(map(sum, buckets))
