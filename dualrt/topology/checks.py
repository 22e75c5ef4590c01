"""What a graph and a mixing plan must satisfy.

Owns the conditions under which the decentralised algorithms converge, each as a function that
returns quietly or raises `TopologyError`. Knows nothing of how a graph or a plan is made, and a
plan from elsewhere is judged the same; nor of how fast one mixes.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import networkx as nx
import numpy as np
import numpy.typing as npt

from dualrt.core.errors import TopologyError

if TYPE_CHECKING:
    from dualrt.topology.mixing import Mixing

Matrix = npt.NDArray[np.float64]

TOLERANCE: Final = 1e-9
"""How far a row's sum may be from one: rounding of a thousand shares, and far below any share."""

SAMPLED_ROUNDS: Final = 64
"""Rounds looked at in a plan without a period, when the caller does not say how many."""


def require_simple(graph: nx.Graph[int], source: str = "the graph") -> None:
    """Accept an undirected, simple graph on learners 0..n-1, n >= 1, without loops.

    `source` is what an error calls the graph: a specification or a file.

    Raises `TopologyError` naming the first condition that fails.
    """
    if graph.is_directed() or graph.is_multigraph():
        raise TopologyError(
            f"{source} is a {type(graph).__name__}: mixing is symmetric, with one share for a pair "
            "of learners. Give an undirected graph, or push along this one with the algorithm sgp"
        )
    learners = graph.number_of_nodes()
    if learners == 0:
        raise TopologyError(f"{source} has no learners. Give it at least one")
    if any(learner not in graph for learner in range(learners)):
        raise TopologyError(
            f"{source} has {learners} learners named {listed(list(graph))}: they must be numbered "
            f"0 to {learners - 1}. Relabel them, for example with "
            "networkx.convert_node_labels_to_integers"
        )
    loops = sorted(nx.nodes_with_selfloops(graph))
    if loops:
        raise TopologyError(
            f"{source} joins {listed(loops)} to itself: the share that a learner keeps follows "
            "from the others. Remove the self loop"
        )


def require_graph(graph: nx.Graph[int], source: str = "the graph") -> None:
    """Accept what `require_simple` does, if it is connected as well.

    Raises `TopologyError` naming the first condition that fails.
    """
    require_simple(graph, source)
    learners = graph.number_of_nodes()
    reached = nx.node_connected_component(graph, 0)
    if len(reached) < learners:
        cut_off = [learner for learner in range(learners) if learner not in reached]
        raise TopologyError(
            f"{source} is not connected: no path leads from learner 0 to {listed(cut_off)}, so "
            "they would never agree. Add an edge between the parts"
        )


def require_bipartite(graph: nx.Graph[int], source: str = "the graph") -> None:
    """Accept a bipartite graph: the lock-based protocol of the papers waits in a cycle on others.

    There one class only initiates and the other only responds, so no chain of learners that hold
    their own lock while they wait for a neighbour's can close (arXiv 1710.06952; arXiv 1904.04956,
    where odd ranks initiate and even ranks respond).

    Raises `TopologyError` with an odd cycle of the graph, which is why there are no such classes,
    or for a graph that `require_graph` refuses.
    """
    require_graph(graph, source)
    cycle = _odd_cycle(graph)
    if cycle:
        raise TopologyError(
            f"{source} is not bipartite: learners {' - '.join(map(str, cycle))} form an odd cycle, "
            "on which the lock-based protocol can deadlock. Use a bipartite graph (an even ring, a "
            "hypercube, a star), or the delta exchange, which is safe on every graph"
        )


def require_doubly_stochastic(matrix: Matrix, source: str = "the matrix") -> None:
    """Accept a symmetric, nonnegative [n, n] matrix whose rows and columns sum to one.

    Double stochasticity keeps the mean over learners where it is (arXiv 1907.05701, eq. 7);
    symmetry is what a pairwise exchange of deltas can carry out.

    Raises `TopologyError` with the offending entry or row.
    """
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise TopologyError(
            f"{source} has shape {matrix.shape}. A mixing matrix is square: one row and one column "
            "a learner"
        )
    # Written so that NaN, for which every comparison is false, fails as well.
    negative = np.argwhere(~(matrix >= -TOLERANCE))
    if len(negative):
        mine, theirs = negative[0].tolist()
        raise TopologyError(
            f"{source} holds {matrix[mine, theirs]:g} at ({mine}, {theirs}). Shares are "
            f"nonnegative: lower the shares that learner {mine} gives to others"
        )
    lopsided = np.argwhere(np.abs(matrix - matrix.T) > TOLERANCE)
    if len(lopsided):
        mine, theirs = lopsided[0].tolist()
        raise TopologyError(
            f"{source} is not symmetric: {matrix[mine, theirs]:g} at ({mine}, {theirs}) but "
            f"{matrix[theirs, mine]:g} at ({theirs}, {mine}). Give both the same share"
        )
    sums = matrix.sum(axis=1)
    off = np.flatnonzero(np.abs(sums - 1.0) > TOLERANCE)
    if len(off):
        raise TopologyError(
            f"{source}: row {off[0]} sums to {sums[off[0]]:g}, so averaging would move the mean. "
            "Make every row sum to 1"
        )


def check_mixing(mixing: Mixing, rounds: int | None = None) -> None:
    """Accept a plan that conserves the mean, owns each exchange once, and joins all learners.

    In each of the first `rounds` rounds (default: one period, or `SAMPLED_ROUNDS` of a plan that
    has none): the matrix is symmetric and doubly stochastic; a learner's row lists other learners
    in ascending order, all of them among its `peers`; each edge is initiated by one of its two
    ends, with the row's share. Over these rounds together, the edges connect all learners.

    Raises `TopologyError` naming the round and what fails there.
    """
    met = nx.empty_graph(mixing.learners)
    span = _span(mixing, rounds)
    for round in range(span):
        where = f"round {round} of the mixing plan"
        _require_rows_in_order(mixing, round, where)
        require_doubly_stochastic(mixing.matrix(round), where)
        edges = sorted(
            (mine, theirs, share)
            for mine in range(mixing.learners)
            for theirs, share in mixing.row(mine, round)
            if mine < theirs
        )
        owned = sorted(
            (min(mine, theirs), max(mine, theirs), share)
            for mine in range(mixing.learners)
            for theirs, share in mixing.initiates(mine, round)
        )
        if owned != edges:
            astray = sorted(set(owned) ^ set(edges)) or [
                edge for edge, after in pairwise(owned) if edge == after
            ]
            raise TopologyError(
                f"{where}: the exchanges that learners initiate are not its edges, once each; see "
                f"(learner, learner, share) {listed(astray)}. Give every edge one initiator"
            )
        met.add_edges_from((mine, theirs) for mine, theirs, _ in edges)
    require_graph(met, f"what the mixing plan joins in {span} rounds")


def _span(mixing: Mixing, rounds: int | None) -> int:
    span = (mixing.period or SAMPLED_ROUNDS) if rounds is None else rounds
    if span < 1:
        raise TopologyError(f"rounds = {span}: there is nothing to look at. Give at least 1")
    return span


def _require_rows_in_order(mixing: Mixing, round: int, where: str) -> None:
    for learner in range(mixing.learners):
        named = [peer for peer, _ in mixing.row(learner, round)]
        if learner in named or any(a >= b for a, b in pairwise(named)):
            raise TopologyError(
                f"{where}: the row of learner {learner} lists {named}. List other learners only, "
                "each once, in ascending order"
            )
        known = mixing.peers(learner)
        strangers = [peer for peer in named if peer not in known]
        if strangers:
            raise TopologyError(
                f"{where}: learner {learner} exchanges with {listed(strangers)}, which its peers "
                f"{listed(known)} leave out. Name everyone that it may ever meet"
            )


def _odd_cycle(graph: nx.Graph[int]) -> list[int]:
    """A cycle of odd length, its first learner repeated at the end; empty if there is none.

    In a breadth-first tree, an edge between two learners at the same depth closes an odd cycle
    through their lowest common ancestor, and a graph without such an edge is bipartite.
    """
    depth = {0: 0}
    parent = {0: 0}
    for above, below in nx.bfs_edges(graph, 0, sort_neighbors=sorted):
        depth[below], parent[below] = depth[above] + 1, above
    level = ((a, b) for a, b in graph.edges if depth[a] == depth[b])
    left, right = next(level, (0, 0))
    if left == right:
        return []
    one_side, other_side = [left], [right]
    while one_side[-1] != other_side[-1]:
        one_side.append(parent[one_side[-1]])
        other_side.append(parent[other_side[-1]])
    return [*reversed(one_side), *other_side]


def listed(items: Sequence[object]) -> str:
    """The first few of `items` and how many more, so that an error stays readable."""
    shown = ", ".join(map(str, items[:5])) or "nobody"
    return shown if len(items) <= 5 else f"{shown} and {len(items) - 5} more"
