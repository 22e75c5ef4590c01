"""Communication graphs: who may exchange weights with whom.

Owns the families of graphs that have a name. Knows nothing of how a scenario writes them (`specs`),
nor of shares and rounds; `mixing` makes those from any graph. Learners are the nodes 0..n-1
throughout.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import combinations, product
from typing import Final

import networkx as nx
import numpy as np

from dualrt.core.errors import TopologyError

MOST_LEARNERS: Final = 100_000
"""Learners above which a graph is refused: ten times what can be judged in half a minute."""

MOST_EDGES: Final = 2_000_000
"""Edges above which a dense family is refused: they take GB, and no step could pay for them."""


def ring(learners: int) -> nx.Graph[int]:
    """Return the ring: learner i is joined to i - 1 and i + 1, modulo n.

    Every learner has two neighbours, so the cost of a round does not grow with n; mixing slows down
    with its square. Bipartite when n is even. Two learners share one edge, and one has none.

    Parameters
    ----------
    learners : int
        Number of learners n, at least 1.

    Raises
    ------
    TopologyError
        If there are no learners.

    Examples
    --------
    >>> list(ring(4).edges)
    [(0, 1), (0, 3), (1, 2), (2, 3)]

    References
    ----------
    The graph of the papers' experiments: arXiv 1907.05701; arXiv 2002.01119.
    """
    return _graph("ring", learners, ((i, (i + 1) % learners) for i in range(learners)))


def path(learners: int) -> nx.Graph[int]:
    """Return the path: learner i is joined to i + 1. A ring with one edge cut.

    Parameters
    ----------
    learners : int
        Number of learners n, at least 1.

    Raises
    ------
    TopologyError
        If there are no learners.

    Examples
    --------
    >>> list(path(4).edges)
    [(0, 1), (1, 2), (2, 3)]
    """
    return _graph("path", learners, ((i, i + 1) for i in range(learners - 1)))


def star(learners: int) -> nx.Graph[int]:
    """Return the star: learner 0 is joined to all others, which are joined to nobody else.

    The shape of a parameter server, and the least even load that a graph can put on its learners.

    Parameters
    ----------
    learners : int
        Number of learners n with the centre counted, at least 1. (`networkx.star_graph` does not
        count it.)

    Raises
    ------
    TopologyError
        If there are no learners.

    Examples
    --------
    >>> list(star(4).edges)
    [(0, 1), (0, 2), (0, 3)]
    """
    return _graph("star", learners, ((0, i) for i in range(1, learners)))


def complete(learners: int) -> nx.Graph[int]:
    """Return the complete graph: every learner is joined to every other.

    Averaging with all neighbours reaches the full average in one round, at n - 1 exchanges each.

    Parameters
    ----------
    learners : int
        Number of learners n, at least 1.

    Raises
    ------
    TopologyError
        If there are no learners.

    Examples
    --------
    >>> complete(16).number_of_edges()
    120
    """
    require_few_edges(
        f"complete:{learners}",
        learners * (learners - 1) // 2,
        f"exponential:{learners}, or fresh random pairs of all, random-matching:{learners}",
    )
    graph = _graph("complete", learners, ())
    # In order and without repetitions already: half a million edges need not be sorted.
    graph.add_edges_from(combinations(range(learners), 2))
    return graph


def torus(*sides: int) -> nx.Graph[int]:
    """Return the torus: a grid in which each row and column closes to a ring.

    Learners are numbered along the last side first: in two dimensions, row by row. Where a side is
    2, the step forward and the step back lead along the same edge; a side of 1 adds no edges.

    Parameters
    ----------
    sides : int
        Number of learners along each dimension, each at least 1.

    Raises
    ------
    TopologyError
        If there is no side, or one is below 1.

    Examples
    --------
    >>> sorted(torus(3, 3)[0])
    [1, 2, 3, 6]
    >>> sorted(torus(4, 4, 4)[0])
    [1, 3, 4, 12, 16, 48]
    """
    shape = "x".join(map(str, sides))
    if not sides or min(sides) < 1:
        raise TopologyError(f"torus:{shape}: every side needs a learner. Write it as in torus:4x4")
    learners = math.prod(sides)
    strides = [math.prod(sides[axis + 1 :]) for axis in range(len(sides))]
    corners = product(*map(range, sides))
    return _graph(
        "torus",
        learners,
        (
            (i, i + ((at[axis] + 1) % sides[axis] - at[axis]) * strides[axis])
            for i, at in enumerate(corners)
            for axis in range(len(sides))
        ),
    )


def hypercube(learners: int) -> nx.Graph[int]:
    """Return the hypercube: two learners are joined if their numbers differ in one bit.

    Every learner has log2 n neighbours. Bipartite; averaging along one dimension a round reaches
    the full average in log2 n rounds.

    Parameters
    ----------
    learners : int
        Number of learners n, a power of two.

    Raises
    ------
    TopologyError
        If n is not a power of two.

    Examples
    --------
    >>> sorted(hypercube(8)[0])
    [1, 2, 4]
    """
    if learners < 1 or learners & (learners - 1):
        raise TopologyError(
            f"hypercube:{learners}: a hypercube has a power of two of learners. "
            f"Take {_near_powers_of_two(learners)}"
        )
    dimensions = learners.bit_length() - 1
    return _graph(
        "hypercube",
        learners,
        ((i, i ^ (1 << d)) for i in range(learners) for d in range(dimensions)),
    )


def exponential(learners: int) -> nx.Graph[int]:
    """Return the exponential graph: learner i is joined to i + 1, i + 2, i + 4, ..., modulo n.

    The hops are all powers of two below n. Its spectral gap falls with 1 / log n only, at about
    2 log2 n neighbours. The source has directed edges; here each is used both ways, because the
    exchanges are symmetric.

    Parameters
    ----------
    learners : int
        Number of learners n, at least 1.

    Raises
    ------
    TopologyError
        If there are no learners.

    Examples
    --------
    >>> sorted(exponential(16)[0])
    [1, 2, 4, 8, 12, 14, 15]

    References
    ----------
    Ying et al., "Exponential Graph is Provably Efficient for Decentralized Deep Training",
    NeurIPS 2021, arXiv 2110.13363.
    """
    hops = [1 << power for power in range((learners - 1).bit_length())]
    return _graph(
        "exponential",
        learners,
        ((i, (i + hop) % learners) for i in range(learners) for hop in hops),
    )


def bipartite_exponential(learners: int) -> nx.Graph[int]:
    """Return the bipartite exponential graph: i is joined to i + 1 and i + 1 + 2^k, modulo n.

    All hops are odd, so even learners meet odd ones only: nearly the mixing of the exponential
    graph, and safe for the lock-based protocol.

    Parameters
    ----------
    learners : int
        Number of learners n, even.

    Raises
    ------
    TopologyError
        If n is odd, or below 2.

    Examples
    --------
    >>> sorted(bipartite_exponential(16)[0])
    [1, 3, 5, 7, 9, 11, 13, 15]
    >>> sorted(bipartite_exponential(64)[0])[:6]
    [1, 3, 5, 9, 17, 31]

    References
    ----------
    The dynamic bipartite exponential graph of Assran et al., arXiv 1811.10792, all rounds at once.
    """
    if learners < 2 or learners % 2:
        raise TopologyError(
            f"bipartite-exponential:{learners}: two classes of one size need an even number of "
            f"learners. Take {max(2, learners + 1)}"
        )
    hops = [1, *(1 + (1 << power) for power in range(1, (learners - 1).bit_length()))]
    return _graph(
        "bipartite-exponential",
        learners,
        ((i, (i + hop) % learners) for i in range(learners) for hop in hops if hop < learners),
    )


def random_regular(learners: int, degree: int, seed: int = 0) -> nx.Graph[int]:
    """Return a connected random graph in which every learner has `degree` neighbours.

    A ring of chords, shaken by random exchanges of the ends of two edges, which keep all degrees.
    Its second eigenvalue is close to the least that a graph of that degree can have (Friedman,
    "A proof of Alon's second eigenvalue conjecture", 2003), whatever n is.

    Parameters
    ----------
    learners, degree : int
        2 <= degree < learners, and not both odd.
    seed : int
        In 0..2**64 - 1; the same seed gives the same graph everywhere.

    Raises
    ------
    TopologyError
        If there is no such graph, or it has more than `MOST_EDGES`.

    Examples
    --------
    >>> {degree for _, degree in random_regular(16, 4, seed=1).degree}
    {4}
    """
    spec = f"random-regular:{learners}x{degree}"
    if learners < 3:
        raise TopologyError(f"{spec}: that few have no two neighbours each. Give at least 3")
    if not 2 <= degree < learners or learners * degree % 2:
        raise TopologyError(
            f"{spec}: {learners} learners cannot all have {degree} neighbours. Take 2 to "
            f"{learners - 1}, and an even number where the learners are odd"
        )
    require_few_edges(spec, learners * degree // 2, "a smaller degree")
    hops = [*range(1, degree // 2 + 1), *([learners // 2] if degree % 2 else [])]
    edges = sorted(
        {tuple(sorted((i, (i + hop) % learners))) for i in range(learners) for hop in hops}
    )
    draws = np.random.Philox(key=np.array([seed, degree], dtype=np.uint64))
    shaken = [(a, b) for a, b in edges]
    for _ in range(SHAKES):
        shaken = _shaken(shaken, draws.random_raw(20 * len(shaken)).tolist())
        graph = _graph(spec, learners, shaken)
        if nx.is_connected(graph):
            return graph
    raise TopologyError(f"{spec}: came apart {SHAKES} times. Take another seed, or a larger degree")


SHAKES: Final = 20
"""Attempts at a connected random graph; from degree 3 on the first nearly always is."""


def _shaken(edges: list[tuple[int, int]], draws: Sequence[int]) -> list[tuple[int, int]]:
    """Replace random pairs of edges a-b, c-d by a-d, c-b, wherever the graph stays simple."""
    edges, present = list(edges), dict.fromkeys(edges)
    for one, other in zip(draws[::2], draws[1::2], strict=True):
        first, second = one % len(edges), other % len(edges)
        (a, b), (c, d) = edges[first], edges[second]
        if (one >> 32) & 1:
            c, d = d, c
        new, also = (min(a, d), max(a, d)), (min(b, c), max(b, c))
        if a == d or b == c or new == also or new in present or also in present:
            continue
        for old in (edges[first], edges[second]):
            del present[old]
        present[new] = present[also] = None
        edges[first], edges[second] = new, also
    return edges


def hierarchical(groups: int, members: int, between: nx.Graph[int]) -> nx.Graph[int]:
    """Return groups of learners that all know each other, joined as `between` says.

    Learners are numbered group by group. An edge between two groups is one edge between two of
    their members; a group's edges end at its members in turn, so that no member carries them all.
    (arXiv 1907.05701, sec. 4, has an allreduce in each group: the algorithm h-adpsgd.)

    Parameters
    ----------
    groups, members : int
        Number of groups, and of learners in each.
    between : graph on 0..groups-1

    Raises
    ------
    TopologyError
        If `between` has another number of vertices than there are groups.

    Examples
    --------
    >>> graph = hierarchical(3, 2, ring(3))
    >>> [edge for edge in graph.edges if edge[0] // 2 != edge[1] // 2]
    [(0, 2), (1, 4), (3, 5)]
    """
    if between.number_of_nodes() != groups:
        raise TopologyError(
            f"hierarchical:{groups}x{members}: the graph between groups has "
            f"{between.number_of_nodes()} vertices. Give it {groups}"
        )
    require_few_edges(
        f"hierarchical:{groups}x{members}", groups * members * (members - 1) // 2, "smaller groups"
    )
    ended = [0] * groups

    def end(group: int) -> int:
        ended[group] += 1
        return group * members + (ended[group] - 1) % members

    inside = [
        (group * members + i, group * members + j)
        for group in range(groups)
        for j in range(members)
        for i in range(j)
    ]
    across = [(end(a), end(b)) for a, b in sorted((min(e), max(e)) for e in between.edges)]
    return _graph(f"hierarchical:{groups}x{members}", groups * members, [*inside, *across])


FAMILIES: Final[Mapping[str, Callable[[int], nx.Graph[int]]]] = {
    "ring": ring,
    "path": path,
    "star": star,
    "complete": complete,
    "hypercube": hypercube,
    "exponential": exponential,
    "bipartite-exponential": bipartite_exponential,
}
"""The families given by the number of learners: NAME or NAME:16."""

SHAPED: Final[Mapping[str, Callable[..., nx.Graph[int]]]] = {"torus": torus}
"""The families given by their sides: NAME:4x4; NAME alone is two-dimensional and near square."""


def _graph(family: str, learners: int, edges: Iterable[tuple[int, int]]) -> nx.Graph[int]:
    """A simple graph with its edges in ascending order; loops and repetitions are left out."""
    if learners < 1:
        raise TopologyError(f"{family}:{learners}: a graph needs learners. Give at least 1")
    require_few_learners(family, learners)
    graph: nx.Graph[int] = nx.empty_graph(learners)
    graph.add_edges_from(sorted({(min(i, j), max(i, j)) for i, j in edges if i != j}))
    return graph


def require_few_learners(spec: str, learners: int) -> None:
    """Raise `TopologyError` for more than `MOST_LEARNERS`."""
    if learners > MOST_LEARNERS:
        raise TopologyError(
            f"{spec}: {learners:,} learners are more than the {MOST_LEARNERS:,} that fit. Give "
            "fewer"
        )


def require_few_edges(spec: str, edges: int, instead: str) -> None:
    """Raise `TopologyError` for more than `MOST_EDGES`, with what to take `instead`."""
    if edges > MOST_EDGES:
        raise TopologyError(
            f"{spec} has {edges:,} edges, more than the {MOST_EDGES:,} that fit. Take {instead}"
        )


def _near_powers_of_two(number: int) -> str:
    below = 1 << max(number.bit_length() - 1, 0)
    return f"{below} or {2 * below}" if number > 0 else "1 or 2"
