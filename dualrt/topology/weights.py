"""Shares from a graph: the rules that turn edges into one doubly stochastic matrix.

Owns the rules as sparse matrices of shape [n, n], so that a graph of ten thousand learners is
weighed in a moment. Knows nothing of rounds, of who initiates, or of how a matrix is judged.
Entry (i, j) is the share that learner i gives to what j holds.
"""

from __future__ import annotations

import difflib
import importlib
import warnings
from collections.abc import Callable, Mapping
from itertools import chain
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import networkx as nx
import numpy as np
import numpy.typing as npt

from dualrt.core.errors import MissingExtraError, TopologyError

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

    Sparse: TypeAlias = csr_matrix

PLANNED: Final = ("pairwise", "neighbours", "random-ring", "random-pairs")
"""Names that `mixing` has and this module leaves to it; an error tells of them."""

LARGEST_OPTIMISED: Final = 100
"""Learners up to which shares are optimised: a semidefinite programme of 100 takes 40 s."""


SOLVED: Final = 1e-6
"""How near to a share of 0 an optimised one is 0: far above what the solver is off by."""


def adjacency(graph: nx.Graph[int]) -> Sparse:
    """1 for each edge, both ways: [n, n]."""
    from scipy.sparse import csr_matrix

    learners = graph.number_of_nodes()
    count = 2 * graph.number_of_edges()
    edges = np.fromiter(chain.from_iterable(graph.edges), np.int64, count).reshape(-1, 2)
    ends = np.concatenate([edges, edges[:, ::-1]])
    return csr_matrix((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(learners, learners))


def metropolis(graph: nx.Graph[int]) -> Sparse:
    """1 / (1 + max(a, b)) for an edge between degrees a and b: doubly stochastic on any graph.

    Metropolis-Hastings shares (Xiao, Boyd and Kim, J. Parallel Distrib. Comput. 67(1), 2007). On a
    ring they are thirds, the fixed mixing of arXiv 2002.01119.
    """
    joined = adjacency(graph).tocoo()
    degree = np.bincount(joined.row, minlength=joined.shape[0])
    return _with_rest(joined, 1.0 / (1 + np.maximum(degree[joined.row], degree[joined.col])))


def max_degree(graph: nx.Graph[int]) -> Sparse:
    """1 / (1 + d) for every edge, d the largest degree: doubly stochastic, slow on uneven graphs.

    (Xiao and Boyd, "Fast linear iterations for distributed averaging", Systems & Control Letters
    53(1), 2004.)
    """
    joined = adjacency(graph).tocoo()
    degree = np.bincount(joined.row, minlength=joined.shape[0])
    return _with_rest(joined, np.full(joined.nnz, 1.0 / (1 + degree.max())))


def uniform(graph: nx.Graph[int]) -> Sparse:
    """1 / (1 + a) from a learner of degree a to each neighbour and itself.

    Doubly stochastic only if all degrees are equal; elsewhere averaging moves the mean towards
    learners with many neighbours, which a check reports.
    """
    joined = adjacency(graph).tocoo()
    degree = np.bincount(joined.row, minlength=joined.shape[0])
    return _with_rest(joined, 1.0 / (1 + degree[joined.row]))


def fastest(graph: nx.Graph[int]) -> Sparse:
    """The shares of 0 or more with the largest spectral gap, by convex optimisation.

    As `fdla`, with shares held at 0 or more, which makes it the fastest mixing Markov chain of the
    same authors (Boyd, Diaconis and Xiao, SIAM Review 46(4), 2004): an exchange with a negative
    share would leave the hull of the two learners' weights.

    Raises as `fdla` does.
    """
    return _optimised(graph, nonneg=True)


def fdla(graph: nx.Graph[int]) -> Sparse:
    """The shares, of either sign, with the largest spectral gap, by convex optimisation.

    Symmetric fastest distributed linear averaging: minimise the spectral norm of W - 11'/n over
    symmetric W with the graph's edges and rows that sum to 1 (Xiao and Boyd, Systems & Control
    Letters 53(1), 2004, eq. 17). Nothing symmetric on this graph is faster. Where a share comes out
    below 0, on an edge or on what a learner keeps, no exchange carries the matrix out.

    Raises `MissingExtraError` without cvxpy, and `TopologyError` for more than `LARGEST_OPTIMISED`
    learners or if the solver gives up.
    """
    return _optimised(graph, nonneg=False)


def _optimised(graph: nx.Graph[int], *, nonneg: bool) -> Sparse:
    """The symmetric matrix of least norm apart from the mean; `nonneg`: all of it 0 or more."""
    from scipy.sparse import csr_matrix

    learners = graph.number_of_nodes()
    if learners > LARGEST_OPTIMISED:
        raise TopologyError(
            f"fastest mixing of {learners} learners: the optimisation takes minutes beyond "
            f"{LARGEST_OPTIMISED}. Use metropolis"
        )
    if not graph.number_of_edges():
        return csr_matrix(np.eye(learners))
    try:
        # By name, because its operators have no types.
        cvxpy: Any = importlib.import_module("cvxpy")
    except ModuleNotFoundError as error:
        raise MissingExtraError("cvxpy", "topology", "fastest mixing") from error

    ends = np.array(sorted((min(edge), max(edge)) for edge in graph.edges))
    low, high = ends.T
    edge = np.arange(len(ends))
    ones = np.ones(len(ends))
    at = (np.concatenate([low, high]), np.concatenate([edge, edge]))
    touched = csr_matrix((np.concatenate([ones, ones]), at), shape=(learners, len(ends)))
    # Entries of the Laplacian, in the order of rows, from the shares.
    place = np.concatenate([low, high, low, high]) * learners + np.concatenate(
        [low, high, high, low]
    )
    laplacian = csr_matrix(
        (np.concatenate([ones, ones, -ones, -ones]), (place, np.tile(edge, 4))),
        shape=(learners**2, len(ends)),
    )
    share = cvxpy.Variable(len(ends), nonneg=nonneg)
    norm = cvxpy.Variable()
    apart = np.eye(learners) - 1 / learners
    apart = apart - cvxpy.reshape(laplacian @ share, (learners, learners), order="C")
    # Symmetric, so its norm bounds it from both sides: ten times as fast as cvxpy.sigma_max.
    bound = norm * np.eye(learners)
    kept = [bound - apart >> 0, bound + apart >> 0]
    if nonneg:
        kept.append(touched @ share <= 1)
    problem = cvxpy.Problem(cvxpy.Minimize(norm), kept)
    _interruptibly(lambda: problem.solve(solver=cvxpy.CLARABEL))
    if share.value is None:
        raise TopologyError(
            f"fastest mixing of {learners} learners: the solver ends with {problem.status}. Use "
            "metropolis"
        )
    found = share.value
    if nonneg or found.min() > -SOLVED:
        # A solver meets its constraints to its own tolerance, a mixing matrix to that of rounding.
        found = np.maximum(found, 0.0)
    sums = float((touched @ found).max())
    if nonneg or sums < 1 + SOLVED:
        found = found / max(1.0, sums)
    joined = csr_matrix(
        (
            np.concatenate([found, found]),
            (ends.T.reshape(-1), ends[:, ::-1].T.reshape(-1)),
        ),
        shape=(learners, learners),
    ).tocoo()
    return _with_rest(joined, joined.data)


def _interruptibly(solve: Callable[[], object]) -> None:
    """Run a solver in a thread, because Ctrl-C waits for code that is not Python's to end."""
    failed: list[Exception] = []

    def run() -> None:
        try:
            solve()
        except Exception as error:
            failed.append(error)

    worker = Thread(target=run, daemon=True)
    worker.start()
    while worker.is_alive():
        worker.join(0.1)
    if failed:
        raise failed[0]


def given(path: Path, graph: nx.Graph[int]) -> Sparse:
    """A matrix of one's own, from a text file of comma-separated rows or a .npy file: [n, n].

    Raises `TopologyError` if it cannot be read, has another shape, or joins two learners that the
    graph does not. Whether it is doubly stochastic is for the checks.
    """
    from scipy.sparse import csr_matrix

    try:
        rows = _loaded(path)
    except (OSError, ValueError, UserWarning) as error:
        raise TopologyError(
            f"{path}: not a matrix that can be read ({error}). Write a row a line with commas "
            "between, or a .npy file"
        ) from error
    if rows.dtype.kind not in "fiub":
        raise TopologyError(f"{path}: holds {rows.dtype}. Shares are real numbers; write them so")
    learners = graph.number_of_nodes()
    if rows.shape != (learners, learners):
        raise TopologyError(
            f"{path}: has shape {rows.shape}, but the graph has {learners} learners. Give a row "
            "and a column for each"
        )
    strange = np.argwhere(~np.isfinite(rows)).tolist()
    if strange:
        mine, theirs = strange[0]
        raise TopologyError(
            f"{path}: learner {mine} gives {rows[mine, theirs]} to {theirs}. Shares are numbers"
        )
    strangers = np.argwhere((rows != 0) & (adjacency(graph).toarray() == 0))
    for mine, theirs in strangers.tolist():
        if mine != theirs:
            raise TopologyError(
                f"{path}: learner {mine} gives {rows[mine, theirs]:g} to {theirs}, to which the "
                "graph has no edge. Set it to 0, or add the edge"
            )
    return csr_matrix(np.asarray(rows, dtype=np.float64))


def _loaded(path: Path) -> npt.NDArray[Any]:
    """What the file holds, of any shape and type."""
    if path.suffix == ".npy":
        with path.open("rb") as stream:
            return np.asarray(np.lib.format.read_array(stream, allow_pickle=False))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # numpy's word for an empty file
        return np.loadtxt(path, delimiter=",", ndmin=2, encoding="utf-8-sig")


RULES: Final[Mapping[str, Callable[[nx.Graph[int]], Sparse]]] = {
    "metropolis": metropolis,
    "max-degree": max_degree,
    "uniform": uniform,
    "fastest": fastest,
    "fdla": fdla,
}
"""The rules by name; `matrix:FILE` is one's own."""


def weigh(rule: str, graph: nx.Graph[int], base: Path | None = None) -> Sparse:
    """The matrix that a rule, or the file of `matrix:FILE`, gives a graph.

    Raises `TopologyError` for a name that is no rule, with those that there are.
    """
    kind, _, file = rule.partition(":")
    if kind == "matrix" and file:
        return given((base or Path()) / file, graph)
    if rule not in RULES:
        near = difflib.get_close_matches(rule.lower(), [*RULES, *PLANNED], n=1)
        hint = f"Did you mean {near[0]!r}? " if near else ""
        raise TopologyError(
            f"no mixing is called {rule!r}. {hint}There are: {', '.join(RULES)}, matrix:FILE, and "
            f"the plans {', '.join(PLANNED)}"
        )
    return RULES[rule](graph)


def _with_rest(joined: object, shares: npt.NDArray[np.float64]) -> Sparse:
    """The shares off the diagonal, and on it what each row has left of 1."""
    from scipy.sparse import coo_matrix, csr_matrix, diags

    assert isinstance(joined, coo_matrix)
    off = csr_matrix((shares, (joined.row, joined.col)), shape=joined.shape)
    rest = 1.0 - np.asarray(off.sum(axis=1)).reshape(-1)
    return csr_matrix(off + diags(rest))
