"""Schedules: any sequence of mixing matrices, as what is to be judged.

Owns the common form of a fixed matrix, a plan of exchanges and a directed schedule: one sparse
matrix a round, with a period or drawn by a seed. Knows nothing of the spectrum; and a learner never
sees a schedule, it is handed rows of a `Mixing` plan.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dualrt.core.errors import TopologyError

if TYPE_CHECKING:
    from dualrt.topology.mixing import Mixing
    from dualrt.topology.weights import Sparse

SAMPLED = 8
"""Rounds that stand for a schedule without a period: all have the same degrees and shares."""


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
    return Schedule(plan.learners, plan.period, lambda round: _sparse(plan, round))


def one_peer_exponential(learners: int) -> Schedule:
    """In round k learner i averages with i - 2^k alone, half and half; directed, period log2 n.

    Doubly stochastic, though not symmetric. For a power of two one period is the exact average
    (Ying et al., arXiv 2110.13363, lemma 1).

    Raises `TopologyError` for fewer than 2 learners.
    """
    if learners < 2:
        raise TopologyError(
            f"one-peer-exponential:{learners}: nobody to push to. Give at least 2 learners"
        )
    period = (learners - 1).bit_length()

    def at(round: int) -> Sparse:
        from scipy.sparse import csr_matrix

        mine = np.arange(learners)
        theirs = (mine - (1 << round % period)) % learners
        return csr_matrix(
            (
                np.full(2 * learners, 0.5),
                (np.concatenate([mine, mine]), np.concatenate([mine, theirs])),
            ),
            shape=(learners, learners),
        )

    return Schedule(learners, period, at)


def _sparse(plan: Mixing, round: int) -> Sparse:
    from scipy.sparse import csr_matrix

    rows, columns, shares = [], [], []
    for learner in range(plan.learners):
        row = plan.row(learner, round)
        rows += [learner] * (len(row) + 1)
        columns += [*(peer for peer, _ in row), learner]
        shares += [*(share for _, share in row), 1.0 - sum(share for _, share in row)]
    return csr_matrix((shares, (rows, columns)), shape=(plan.learners, plan.learners))
