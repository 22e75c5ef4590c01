"""Synchronous SGD (1907.05701, eq. 6; SC-PSGD in 2002.10502).

    w_{k+1} = w_k - a_k * mean_i g(w_k; xi_{i,k})

Stale: nothing (staleness is exactly 0). Conserved: trivially, since no weights are averaged; all
learners hold the same weights. Waits for: the slowest learner, each step.

The mean of one bucket of the gradient is taken while the backward pass computes the next (Li et
al., PyTorch Distributed, arXiv 2006.15704).
"""

from __future__ import annotations

from typing import final

from dualrt.algorithms.synchronous import Collective
from dualrt.core.buckets import DDP_BUCKET_BYTES, FIRST_BUCKET_BYTES, in_buckets
from dualrt.core.errors import UsageError
from dualrt.core.learner import Layout, Seat
from dualrt.core.workload import PiecewiseWorkload


@final
class SSGD(Collective):
    """One gradient a learner, their mean by allreduce, the same update everywhere.

    `bucket_bytes` is the size from which on a bucket is averaged, 1 MiB or less for the first; 0:
    the gradient is averaged as a whole, when it is there.
    """

    def __init__(self, seat: Seat, *, bucket_bytes: int = DDP_BUCKET_BYTES) -> None:
        super().__init__(seat)
        self.pieces: tuple[int, ...] = ()
        if bucket_bytes and isinstance(seat.workload, PiecewiseWorkload):
            first_bytes = min(FIRST_BUCKET_BYTES, bucket_bytes)
            self.pieces = in_buckets(self.weights.tensors_bytes, bucket_bytes, first_bytes)

    @classmethod
    def layout(cls, learners: int, *, bucket_bytes: int = DDP_BUCKET_BYTES) -> Layout:
        """One group of all learners, who are in unison.

        Raises UsageError for a bucket of less than nothing.
        """
        if bucket_bytes < 0:
            raise UsageError(f"bucket_bytes = {bucket_bytes}: give a size, or 0 for no buckets")
        layout = super().layout(learners)
        return layout._replace(unison=(layout.replicas,))

    async def train(self) -> None:
        """Repeat the equation above until the agreed end."""
        while not self.finished:
            await self.between_steps()
            read = self.weights.view()  # w_k
            mean = await self.mean_gradient(read, self.everyone, self.pieces)  # mean_i g(w_k; xi_i)
            await self.descend(mean, read)
            # Everyone's update is this same one, so it has entered these weights too.
            self.weights.witness(self.everyone.ranks, self.step)
