"""Spectrum: how fast a schedule mixes, for four learners or for ten thousand.

Owns the second eigenvalue of sparse matrices and of products of them: dense up to `DENSE` learners,
Lanczos and Arnoldi beyond, always from the same starting vector. Knows nothing of graphs; that a
matrix is doubly stochastic is for the checks.
"""

from __future__ import annotations

import math
from functools import reduce
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from dualrt.topology.schedules import Schedule
    from dualrt.topology.weights import Sparse

DENSE: Final = 512
"""Learners up to which all eigenvalues are computed, in a tenth of a second."""

BESIDE_ONE: Final = 1e-8
"""How far above 1 the shift lies that tells eigenvalues apart which crowd below it: a ring of ten
thousand has its second one at 1 - 1.3e-7."""

EXACT: Final = 1e-12
"""A contraction below this is rounding: the average is exact."""


def second_eigenvalue(schedule: Schedule) -> float:
    """The factor by which a disagreement shrinks in a round, in the long run: from 0 to 1.

    One matrix: the largest modulus among its eigenvalues but the leading 1. A period of p: the p-th
    root of that of T_{p-1} ... T_1 T_0. A random schedule, which all learners enter alike: the
    root mean square sqrt((tr T'T - 1) / (n - 1)), exact in expectation because a random order of
    learners turns every disagreement into every other. For the random ring of arXiv 2110.11199
    that is sqrt((L - 3) / (3 (L - 1))), below its bound of 1 / sqrt(3).

    Matrices are taken to be doubly stochastic; or column-stochastic, as those of push-sum are,
    whose estimates x / w agree at that rate too: what sums to 0 over learners does so after each
    round, whatever the rows are.
    """
    rounds = schedule.rounds()
    if schedule.learners == 1:
        return 0.0
    if schedule.period is None:
        return _mean_square_root(rounds)
    if schedule.learners <= DENSE:
        found = _dense(rounds)
    elif len(rounds) == 1 and _is_symmetric(rounds[0]):
        found = _lanczos(rounds[0])
    else:
        found = _arnoldi(rounds)
    return 0.0 if found < EXACT else float(found ** (1.0 / len(rounds)))


def consensus_rounds(schedule: Schedule, second: float, to: float = 1e-3) -> int | None:
    """Rounds after which a disagreement is `to` of what it was; None if it stays.

    ln(to) / ln(second), rounded up to whole rounds; one period where that reaches the exact
    average.
    """
    if second >= 1.0 - 1e-14:
        return None
    if second == 0.0:
        return schedule.period or 1
    # The margin undoes rounding: 0.1 to 1e-3 takes three rounds.
    return max(1, math.ceil(math.log(to) / math.log(second) - 1e-9))


def _mean_square_root(rounds: list[Sparse]) -> float:
    learners = rounds[0].shape[0]
    traces = [float(round.multiply(round).sum()) for round in rounds]
    return math.sqrt(max(0.0, (sum(traces) / len(traces) - 1) / (learners - 1)))


def _dense(rounds: list[Sparse]) -> float:
    learners = rounds[0].shape[0]
    # T_j T_k - T_u = (T_j - T_u)(T_k - T_u), where T_u is the full average: multiplying what is
    # left of T_u keeps a small difference exact.
    left: npt.NDArray[np.float64] = reduce(
        lambda product, round: (round.toarray() - 1 / learners) @ product,
        rounds[1:],
        rounds[0].toarray() - 1 / learners,
    )
    symmetric = np.allclose(left, left.T, rtol=0, atol=1e-13)
    eigenvalues = np.linalg.eigvalsh(left) if symmetric else np.linalg.eigvals(left)
    found = float(np.abs(eigenvalues).max())
    # Eigenvalues of a nilpotent matrix are roots of rounding errors; its powers tell.
    if not symmetric and len(rounds) > 1 and np.abs(left).max() < EXACT:
        return 0.0
    return found


def _lanczos(matrix: Sparse) -> float:
    """Both ends of a symmetric spectrum, the lower only where it can matter."""
    if _vanishes(_deflated([matrix])):
        return 0.0
    upper = _upper(matrix)
    # Gershgorin: no eigenvalue lies below twice the least diagonal entry less 1.
    floor = 2 * float(matrix.diagonal().min()) - 1
    if -floor <= upper:
        return upper
    return max(upper, -_lower(matrix))


def _upper(matrix: Sparse) -> float:
    from scipy.sparse.linalg import ArpackNoConvergence, eigsh

    try:
        top = eigsh(_deflated([matrix]), k=1, which="LA", v0=_start(matrix), maxiter=40, ncv=40)
        return float(top[0][0])
    except ArpackNoConvergence:
        return _beside_one(matrix)


def _beside_one(matrix: Sparse) -> float:
    """By inverting just above 1: crowded eigenvalues mean small separators, so little fill-in."""
    from scipy.sparse.linalg import eigsh

    found = eigsh(
        matrix.tocsc(),
        k=3,
        sigma=1 + BESIDE_ONE,
        which="LM",
        v0=_start(matrix),
        return_eigenvectors=False,
    )
    return float(np.sort(found)[-2])


def _lower(matrix: Sparse) -> float:
    from scipy.sparse.linalg import eigsh

    low = eigsh(
        _deflated([matrix]), k=1, which="SA", v0=_start(matrix), ncv=40, return_eigenvectors=False
    )
    return float(low[0])


def _arnoldi(rounds: list[Sparse]) -> float:
    from scipy.sparse.linalg import ArpackNoConvergence, eigs

    last = _deflated(rounds)
    if _vanishes(last):
        return 0.0
    try:
        found = eigs(last, k=1, which="LM", v0=_start(rounds[0]), maxiter=40, ncv=40)[0]
        return float(np.abs(found[0]))
    except ArpackNoConvergence:
        product: Any = reduce(lambda product, round: round @ product, rounds)
        near = eigs(
            product.tocsc(), k=3, sigma=1 + BESIDE_ONE, v0=_start(rounds[0]),
            return_eigenvectors=False,
        )  # fmt: skip
        return float(np.sort(np.abs(near))[-2])


def _vanishes(operator: Any) -> bool:
    """Whether a period leaves nothing of a disagreement, which iteration would not find."""
    start = np.cos(np.arange(operator.shape[0], dtype=float) ** 2)
    return float(np.linalg.norm(operator @ start)) < EXACT * float(np.linalg.norm(start))


def _deflated(rounds: list[Sparse]) -> Any:
    """A period as an operator on disagreement: what it does, less the mean."""
    from scipy.sparse.linalg import LinearOperator

    def apply(vector: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        vector = vector - vector.mean()
        for round in rounds:
            vector = round @ vector
        return np.asarray(vector - vector.mean())

    return LinearOperator(rounds[0].shape, matvec=apply, dtype=np.float64)


def _start(matrix: Sparse) -> npt.NDArray[np.float64]:
    """The same in every process, and along no eigenvector of a regular graph."""
    return np.asarray(np.cos(np.arange(matrix.shape[0], dtype=float) ** 2 + 1.0), dtype=np.float64)


def _is_symmetric(matrix: Sparse) -> bool:
    return bool(abs(matrix - matrix.T).max() < EXACT)
