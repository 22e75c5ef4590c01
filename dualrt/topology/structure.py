"""Structure: distances in a graph, and whose loss would split it.

Owns diameter, articulation points and the least cut, each exact where that is cheap and said to be
a bound where it is not. Knows nothing of shares.

`joined` is an adjacency both ways; `ways` one whose entry (i, j) leads from i to j alone, of which
connected means that everyone reaches everyone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import networkx as nx
import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from dualrt.topology.weights import Sparse

FLOODED: Final = 10**9
"""Words that finding a diameter may touch: some seconds."""

FLOWS: Final = 2048
"""Learners up to which the least cut is found by maximum flows."""

DIRECTED_FLOWS: Final = 512
"""The same where edges go one way, and two flows a learner are needed."""


class Bound(NamedTuple):
    """A figure, and whether it is exact; a diameter that is not is a lower bound, a cut an upper
    one."""

    value: int
    exact: bool


def is_connected(joined: Sparse) -> bool:
    """Whether every learner reaches every other, in an adjacency matrix [n, n]."""
    from scipy.sparse.csgraph import connected_components

    parts, _ = connected_components(joined, directed=False)
    return bool(parts == 1)


def cut_off(ways: Sparse) -> list[int]:
    """Learners to which no way leads from learner 0, or none back, ascending: [n, n]."""
    from scipy.sparse.csgraph import connected_components

    _, part = connected_components(ways, directed=True, connection="strong")
    return [int(learner) for learner in np.flatnonzero(part != part[0])]


def sides(joined: Sparse) -> npt.NDArray[np.int64] | None:
    """The class, 0 or 1, of each learner of a connected bipartite graph; None for another."""
    side = distances(joined, 0) % 2
    pairs = joined.tocoo()
    return None if (side[pairs.row] == side[pairs.col]).any() else side


def distances(joined: Sparse, start: int) -> npt.NDArray[np.int64]:
    """Hops from one learner to each of a connected graph: [n]."""
    from scipy.sparse.csgraph import breadth_first_order

    order, before = breadth_first_order(joined, start, directed=False)
    hops = np.zeros(joined.shape[0], dtype=np.int64)
    for learner in order[1:].tolist():
        hops[learner] = hops[before[learner]] + 1
    return hops


def is_strongly_connected(ways: Sparse) -> bool:
    """Whether every learner reaches every other along edges of one way: [n, n]."""
    from scipy.sparse.csgraph import connected_components

    parts, _ = connected_components(ways, directed=True, connection="strong")
    return bool(parts == 1)


def is_circulant(joined: Sparse) -> bool:
    """Whether renumbering i as i + 1, modulo n, changes nothing: then all learners are alike."""
    learners = joined.shape[0]
    shifted = (np.arange(learners) + 1) % learners
    return bool(abs(joined[shifted][:, shifted] - joined).nnz == 0)


def diameter(joined: Sparse) -> Bound:
    """The longest of all shortest ways, of a connected graph.

    From a circulant's learner 0; else from the ends of a long way, if its middle proves it to be
    longest; else from all learners at once, a bit each; and if that would take minutes, the long
    way as a lower bound.
    """
    from_first = distances(joined, 0)
    if is_circulant(joined):
        return Bound(int(from_first.max()), True)
    one = int(from_first.argmax())
    from_one = distances(joined, one)
    length, other = int(from_one.max()), int(from_one.argmax())
    from_other = distances(joined, other)
    length = max(length, int(from_other.max()))
    if joined.nnz == 2 * (joined.shape[0] - 1):
        return Bound(length, True)  # in a tree the ends of that way are as far apart as any
    # Anything within r of the middle is within 2 r of anything else.
    middle = int((np.abs(from_one - from_other) + from_one + from_other).argmin())
    if 2 * int(distances(joined, middle).max()) == length:
        return Bound(length, True)
    words = joined.shape[0] ** 2 // 64 * int(np.diff(joined.indptr).max())
    if words * length > FLOODED:
        return Bound(length, False)
    return Bound(_flooded(joined), True)


def _flooded(joined: Sparse) -> int:
    """Rounds until everyone has heard from everyone; row i of `heard` is a bit for each learner."""
    learners = joined.shape[0]
    heard = np.zeros((learners, -(-learners // 64)), dtype=np.uint64)
    index = np.arange(learners)
    heard[index, index // 64] = np.uint64(1) << (index % 64).astype(np.uint64)
    # Neighbour k of each learner a column, itself where it has fewer: a column at a time is six
    # times as fast as a learner at a time.
    degree = np.diff(joined.indptr)
    neighbours = np.repeat(index[:, None], int(degree.max()), axis=1)
    place = np.arange(joined.nnz) - np.repeat(joined.indptr[:-1], degree)
    neighbours[np.repeat(index, degree), place] = joined.indices
    everyone = np.bitwise_or.reduce(heard, axis=0)
    rounds = 0
    while not (heard == everyone).all():
        before = heard.copy()
        for column in neighbours.T:
            heard |= before[column]
        rounds += 1
    return rounds


def single_points(joined: Sparse) -> list[int]:
    """Learners whose loss would split a connected graph, ascending."""
    degree = np.diff(joined.indptr)
    # With k learners lost there is a way left if degrees are at least (n + k - 1) / 2.
    if 2 * int(degree.min()) >= joined.shape[0] or (
        joined.shape[0] > 2 and degree.min() >= 2 and is_circulant(joined)
    ):
        return []
    return sorted(nx.articulation_points(_graph(joined)))


def least_cut(joined: Sparse, across: int) -> Bound:
    """Fewest edges whose loss splits a connected graph of diameter `across`.

    The least degree, where all learners are alike (Mader 1971) or the diameter is at most 2
    (Plesník 1975); 1 where there is a bridge; else by flows from learner 0. Of too many learners
    for that, an upper bound: the least degree, or the fewest edges from one distance to the next.
    """
    degree = np.diff(joined.indptr)
    least = int(degree.min())
    if joined.shape[0] == 1 or least <= 1 or across <= 2 or is_circulant(joined):
        return Bound(least, True)
    if nx.has_bridges(_graph(joined)):
        return Bound(1, True)
    if least == 2:
        return Bound(2, True)
    if joined.shape[0] > FLOWS:
        return Bound(min(least, _fewest_outwards(joined)), False)
    return Bound(min(least, _least_flow(joined, least)), True)


def diameter_of_ways(ways: Sparse) -> Bound:
    """The longest of all shortest ways, of a strongly connected graph.

    Of more than `FLOWS` learners the longest way from or to learner 0, as a lower bound; of a
    circulant that is all there is.
    """
    from scipy.sparse.csgraph import shortest_path

    if is_circulant(ways):
        return Bound(int(shortest_path(ways, unweighted=True, indices=0).max()), True)
    if ways.shape[0] <= FLOWS:
        return Bound(int(shortest_path(ways, unweighted=True).max()), True)
    there, back = (shortest_path(way, unweighted=True, indices=0) for way in (ways, ways.T))
    return Bound(int(max(there.max(), back.max())), False)


def single_points_of_ways(ways: Sparse) -> list[int]:
    """Learners without whom not everyone reaches everyone, ascending.

    They are those that every way from learner 0 to somebody passes, or every way from somebody to
    it (dominators; Italiano, Laura and Santaroni, Theoretical Computer Science 447, 2012), and
    learner 0 if the others do not reach one another without it.
    """
    learners = ways.shape[0]
    if learners <= 2:
        return []
    graph: nx.DiGraph[int] = nx.from_scipy_sparse_array(ways, create_using=nx.DiGraph)
    found = set[int]()
    for one_way in (graph, graph.reverse(copy=False)):
        passed = nx.immediate_dominators(one_way, 0)
        found |= {dominator for learner, dominator in passed.items() if learner != dominator}
    found -= {0, None}
    if not is_strongly_connected(ways[1:, 1:]):
        found.add(0)
    return sorted(found)


def least_cut_of_ways(ways: Sparse) -> Bound:
    """Fewest edges whose loss leaves somebody whom not everyone reaches, or who reaches not all.

    The least number of edges into or out of one, where all learners are alike (Mader 1971); else by
    flows between learner 0 and each other, both ways; of more than `DIRECTED_FLOWS` learners that
    least number, as an upper bound.
    """
    from scipy.sparse.csgraph import maximum_flow

    learners = ways.shape[0]
    degrees = [np.diff(one_way.tocsr().indptr) for one_way in (ways, ways.T)]
    least = min(int(degree.min()) for degree in degrees)
    if least <= 1 or is_circulant(ways):
        return Bound(least, True)
    if learners > DIRECTED_FLOWS:
        return Bound(least, False)
    capacity: Any = ways.astype(np.int32)
    pairs = [pair for other in range(1, learners) for pair in ((0, other), (other, 0))]
    flows = (int(maximum_flow(capacity, *pair).flow_value) for pair in pairs)
    return Bound(min(least, *flows), True)


def _graph(joined: Sparse) -> nx.Graph[int]:
    graph: nx.Graph[int] = nx.from_scipy_sparse_array(joined)
    return graph


def _fewest_outwards(joined: Sparse) -> int:
    """Of the cuts between who is within k hops of a learner at an end and who is not, the least.

    Groups that few edges join, as of a hierarchical graph, lie behind one another there; seen from
    a learner that has such an edge they may not lie side by side, so two learners are asked.
    """
    hops = distances(joined, 0)
    farthest = np.flatnonzero(hops == hops.max())[[0, -1]].tolist()
    edges = joined.tocoo()

    def fewest(start: int) -> int:
        hops = distances(joined, start)
        outwards = hops[edges.row] < hops[edges.col]
        return int(np.bincount(hops[edges.row[outwards]]).min())

    return min(map(fewest, farthest))


def _least_flow(joined: Sparse, least: int) -> int:
    """Flows between learners of a dominating set suffice below the least degree (Matula 1987)."""
    from scipy.sparse.csgraph import maximum_flow

    capacity: Any = joined.astype(np.int32)
    covered = np.zeros(joined.shape[0], dtype=bool)
    chosen = []
    for learner in range(joined.shape[0]):
        if not covered[learner]:
            chosen.append(learner)
            covered[learner] = True
            covered[joined.indices[joined.indptr[learner] : joined.indptr[learner + 1]]] = True
    return min(
        (int(maximum_flow(capacity, chosen[0], other).flow_value) for other in chosen[1:]),
        default=least,
    )
