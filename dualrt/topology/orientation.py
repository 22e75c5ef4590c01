"""Who initiates which exchange: the edges of a graph, each given to one of its two ends.

Owns the fairness of that choice. Knows nothing of shares and rounds.
"""

from __future__ import annotations

import networkx as nx

Arc = tuple[int, int]


def balanced(graph: nx.Graph[int]) -> tuple[Arc, ...]:
    """Point every edge from initiator to responder so that a learner starts half of its edges.

    The edges are taken along walks, one begun at each learner in turn, each of which goes on until
    it is stuck. Passing through a learner uses one edge inwards and one outwards. A walk begins at
    a learner once, and is stuck there once at most, since that uses its last edge. So the edges
    out and in differ by one at most: a learner of degree d initiates d/2 exchanges, rounded up or
    down when d is odd, as in an Eulerian orientation.

    Examples
    --------
    On a ring, everybody initiates to the right neighbour.

    >>> from dualrt.topology.graphs import ring
    >>> balanced(ring(4))
    ((0, 1), (1, 2), (2, 3), (3, 0))
    """
    # Insertion-ordered and descending, so that popitem takes the lowest neighbour.
    unused = [dict.fromkeys(sorted(graph[at], reverse=True)) for at in range(len(graph))]
    arcs = []
    for start in range(len(graph)):
        at = start
        while unused[at]:
            onward, _ = unused[at].popitem()
            del unused[onward][at]
            arcs.append((at, onward))
            at = onward
    return tuple(arcs)


def from_one_class(graph: nx.Graph[int]) -> tuple[Arc, ...]:
    """Let one side initiate and the other respond; in ascending order of the graph's edges.

    On a bipartite graph the side of learner 0 initiates, so that nobody does both: the protocol of
    arXiv 1904.04956 and 1710.06952. On any other graph there are no sides, and the lower number of
    an edge initiates; that has no cycle of initiators either.

    Examples
    --------
    >>> from dualrt.topology.graphs import ring
    >>> from_one_class(ring(4))
    ((0, 1), (0, 3), (2, 1), (2, 3))
    >>> from_one_class(ring(3))
    ((0, 1), (0, 2), (1, 2))
    """
    edges = sorted((min(edge), max(edge)) for edge in graph.edges)
    if not nx.is_bipartite(graph):
        return tuple(edges)
    side = nx.bipartite.color(graph)
    return tuple((a, b) if side[a] == side[0] else (b, a) for a, b in edges)
