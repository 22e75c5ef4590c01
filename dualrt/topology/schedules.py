"""Schedules: any sequence of mixing matrices, as what is to be judged.

Owns the common form of a fixed matrix, a plan of exchanges and a directed schedule: one sparse
matrix a round, with a period or drawn by a seed. Knows nothing of the spectrum; and a learner never
sees a schedule, it is handed rows of a `Mixing` plan.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np

from dualrt.topology.checks import TOLERANCE

if TYPE_CHECKING:
    from dualrt.topology.mixing import Mixing, Row
    from dualrt.topology.pushing import Pushes
    from dualrt.topology.weights import Sparse

SAMPLED = 8
"""Rounds that stand for a schedule without a period: all have the same degrees and shares."""

KEPT = 4_000_000
"""Learners times rounds of which the matrices are kept: some hundred MB at most."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """T_0, T_1, ... on `learners`, W_{k+1} = T_k W_k with a row a learner.

    Attributes: `period` is the number of rounds after which it repeats, None if it is drawn at
    random and never does; `at(round)` is the sparse matrix [n, n] of a round.
    """

    learners: int
    period: int | None
    at: Callable[[int], Sparse]

    def rounds(self) -> list[Sparse]:
        """One period, or the first `SAMPLED` rounds of a random schedule."""
        return [self.at(round) for round in range(self.period or SAMPLED)]


def constant(matrix: Sparse) -> Schedule:
    """The same matrix in every round."""
    return Schedule(matrix.shape[0], 1, lambda _round: matrix)


def of_plan(plan: Mixing) -> Schedule:
    """The matrices that a plan's exchanges carry out."""
    # A thousand rounds of a thousand learners take a second to make, and are asked for ten times.
    kept = max(1, KEPT // plan.learners)
    return Schedule(plan.learners, plan.period, lru_cache(kept)(lambda round: _sparse(plan, round)))


def of_pushes(plan: Pushes) -> Schedule:
    """The matrices by which a plan's pushes move weights: columns sum to 1, rows may not."""

    def at(round: int) -> Sparse:
        kept = [
            1.0 - sum(part for _, part in plan.initiates(learner, round))
            for learner in range(plan.learners)
        ]
        return _matrix([plan.row(learner, round) for learner in range(plan.learners)], kept)

    return Schedule(plan.learners, plan.period, at)


def flaw(schedule: Schedule) -> str | None:
    """Why its matrices are not doubly stochastic, in words; None if they are."""
    for matrix in schedule.rounds():
        shares = matrix.tocoo()
        if shares.nnz and shares.data.min() < -TOLERANCE:
            at = shares.data.argmin()
            return (
                f"learner {shares.row[at]} gives {shares.data[at]:g} to {shares.col[at]}, and a "
                "share below 0 drives learners apart"
            )
    return astray(schedule)


def astray(schedule: Schedule) -> str | None:
    """Why averaging moves the mean over learners, in words; None if it does not."""
    for matrix in schedule.rounds():
        for axis, name in ((1, "row"), (0, "column")):
            sums = np.asarray(matrix.sum(axis=axis)).reshape(-1)
            off = np.flatnonzero(np.abs(sums - 1.0) > TOLERANCE)
            if len(off):
                return f"{name} {off[0]} sums to {sums[off[0]]:g}, so averaging moves the mean"
    return None


def lopsided(schedule: Schedule) -> str | None:
    """Two learners who give each other different shares, in words; None if no round has any."""
    for matrix in schedule.rounds():
        apart = abs(matrix - matrix.T).tocoo()
        if apart.nnz and apart.data.max() > TOLERANCE:
            at = apart.data.argmax()
            one, other = int(apart.row[at]), int(apart.col[at])
            return (
                f"learner {one} gives {matrix[one, other]:g} to {other}, which gives "
                f"{matrix[other, one]:g} to it"
            )
    return None


def _sparse(plan: Mixing, round: int) -> Sparse:
    rows = [plan.row(learner, round) for learner in range(plan.learners)]
    return _matrix(rows, [1.0 - sum(share for _, share in row) for row in rows])


def _matrix(rows: Sequence[Row], kept: Sequence[float]) -> Sparse:
    """What comes from others, and on the diagonal what stays: [n, n]."""
    from scipy.sparse import csr_matrix

    counts = [0, *accumulate(len(row) + 1 for row in rows)]
    columns = [at for learner, row in enumerate(rows) for at in (*(p for p, _ in row), learner)]
    shares = [
        share
        for own, row in zip(kept, rows, strict=True)
        for share in (*(share for _, share in row), own)
    ]
    return csr_matrix((shares, columns, counts), shape=(len(rows), len(rows)))
