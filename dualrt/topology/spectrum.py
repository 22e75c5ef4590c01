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

DENSE_AT_LAST: Final = 2048
"""The same where iteration finds none: some seconds."""

ROUNDS: Final = 64_000
"""Rounds of a period that iteration may go through, in a second or two."""

BESIDE_ONE: Final = 1e-8
"""How far above 1 the shift lies that tells eigenvalues apart which crowd below it: a ring of ten
thousand has its second one at 1 - 1.3e-7."""

EXACT: Final = 1e-10
"""A round that leaves less than this of a disagreement leaves rounding: the average is exact."""


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
    left = _course(rounds)
    if left[-1] == 0.0:
        return 0.0
    if schedule.learners <= DENSE:
        return _dense(rounds)
    if len(rounds) == 1 and _is_symmetric(rounds[0]):
        return _lanczos(rounds[0])
    return _arnoldi(rounds, math.exp(sum(map(math.log, left)) / len(left)))


def consensus_rounds(schedule: Schedule, second: float, to: float = 1e-3) -> int | None:
    """Rounds after which a disagreement is `to` of what it was; None if it stays.

    ln(to) / ln(second), rounded up to whole rounds; where the average is exact, those after which
    it is.
    """
    if second >= 1.0 - 1e-14:
        return None
    if second == 0.0:
        return 1 if schedule.learners == 1 else len(_course(schedule.rounds()))
    # The margin undoes rounding: 0.1 to 1e-3 takes three rounds.
    return max(1, math.ceil(math.log(to) / math.log(second) - 1e-9))


def _course(rounds: list[Sparse]) -> list[float]:
    """What each round leaves of one disagreement, in a period; 0 at the end if all are gone.

    A long period may leave next to nothing and yet not be exact: 200 rounds that leave two thirds
    each leave 1e-35. So each round is measured by itself.
    """
    state = _start(rounds[0])
    state -= state.mean()
    course: list[float] = []
    for round in rounds:
        before = float(np.linalg.norm(state))
        state = round @ (state / before)
        state -= state.mean()
        after = float(np.linalg.norm(state))
        if after < EXACT:
            return [*course, 0.0]
        course.append(after)
    return course


def _mean_square_root(rounds: list[Sparse]) -> float:
    learners = rounds[0].shape[0]
    traces = [float(round.multiply(round).sum()) for round in rounds]
    return math.sqrt(max(0.0, (sum(traces) / len(traces) - 1) / (learners - 1)))


def _dense(rounds: list[Sparse]) -> float:
    learners = rounds[0].shape[0]
    left: npt.NDArray[np.float64] = np.eye(learners) - 1 / learners
    scale = 0.0
    for round in rounds:
        # T_j T_k - T_u = (T_j - T_u)(T_k - T_u), where T_u is the full average: multiplying what is
        # left of T_u keeps a small difference exact; and keeping it of size 1, a tiny one.
        left = round @ left
        left -= left.mean(axis=0)
        size = float(np.abs(left).max())
        left /= size
        scale += math.log(size)
    symmetric = np.allclose(left, left.T, rtol=0, atol=1e-13)
    eigenvalues = np.linalg.eigvalsh(left) if symmetric else np.linalg.eigvals(left)
    return float(np.abs(eigenvalues).max() ** (1 / len(rounds))) * math.exp(scale / len(rounds))


def _lanczos(matrix: Sparse) -> float:
    """Both ends of a symmetric spectrum, the lower only where it can matter."""
    upper = _upper(matrix)
    # Gershgorin: no eigenvalue lies further below a diagonal entry than the others of its row add
    # up to, by modulus.
    diagonal = matrix.diagonal()
    others = np.asarray(abs(matrix).sum(axis=1)).reshape(-1) - np.abs(diagonal)
    if float((others - diagonal).max()) <= upper:
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


def _arnoldi(rounds: list[Sparse], about: float) -> float:
    """Each round divided by `about` what it leaves: ARPACK's tolerance is absolute far below 1."""
    from scipy.sparse.linalg import ArpackNoConvergence, eigs

    whole = _deflated(rounds, about)
    restarts = max(1, min(40, ROUNDS // (40 * len(rounds))))
    try:
        found = eigs(whole, k=1, which="LM", v0=_start(rounds[0]), maxiter=restarts, ncv=40)[0]
        return about * float(np.abs(found[0]) ** (1 / len(rounds)))
    except ArpackNoConvergence:
        if rounds[0].shape[0] <= DENSE_AT_LAST:
            return _dense(rounds)
        product: Any = reduce(lambda product, round: round @ product, rounds)
        near = eigs(
            product.tocsc(), k=3, sigma=1 + BESIDE_ONE, v0=_start(rounds[0]),
            return_eigenvectors=False,
        )  # fmt: skip
        return float(np.sort(np.abs(near))[-2] ** (1 / len(rounds)))


def _deflated(rounds: list[Sparse], unit: float = 1.0) -> Any:
    """A period as an operator on disagreement: what it does, less the mean, a unit each round."""
    from scipy.sparse.linalg import LinearOperator

    def apply(vector: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        vector = vector - vector.mean()
        for round in rounds:
            vector = (round @ vector) / unit
            vector -= vector.mean()  # or its rounding grows by 1 / unit a round
        return vector

    return LinearOperator(rounds[0].shape, matvec=apply, dtype=np.float64)


def _start(matrix: Sparse) -> npt.NDArray[np.float64]:
    """The same in every process, and along no eigenvector of a regular graph."""
    return np.asarray(np.cos(np.arange(matrix.shape[0], dtype=float) ** 2 + 1.0), dtype=np.float64)


def _is_symmetric(matrix: Sparse) -> bool:
    return bool(abs(matrix - matrix.T).max() < EXACT)
