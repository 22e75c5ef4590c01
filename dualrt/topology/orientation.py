"""Who initiates which exchange: the edges of a graph, each given to one of its two ends.

Owns the fairness of that choice. Knows nothing of shares and rounds.
"""

from __future__ import annotations

import networkx as nx

Arc = tuple[int, int]


def balanced(graph: nx.Graph[int]) -> tuple[Arc, ...]:
    """Point every edge from initiator to responder so that a learner starts half of its edges.

    An Eulerian orientation. A dummy node, joined to all learners of odd degree, makes every degree
    even. Such a graph falls into closed walks, and along a walk each visit enters once and leaves
    once; so a learner of degree d initiates d/2 exchanges, rounded up or down when d is odd.

    Examples
    --------
    On a ring, everybody initiates to the right neighbour.

    >>> from dualrt.topology.graphs import ring
    >>> balanced(ring(4))
    ((0, 1), (1, 2), (2, 3), (3, 0))
    """
    learners = graph.number_of_nodes()
    dummy = learners
    joined = {at: list(graph[at]) for at in range(learners)}
    joined[dummy] = [at for at in range(learners) if len(joined[at]) % 2]
    for odd in joined[dummy]:
        joined[odd].append(dummy)
    # Insertion-ordered and descending, so that popitem takes the lowest neighbour, the dummy last.
    unused = {at: dict.fromkeys(sorted(others, reverse=True)) for at, others in joined.items()}

    arcs = []
    for start in range(learners):
        at = start
        # With even degrees a walk is stuck only where it began, when no edge is left there. Were it
        # stuck elsewhere, as without the dummy, edges of its start could be left over.
        while unused[at]:
            onward, _ = unused[at].popitem()
            del unused[onward][at]
            if dummy not in (at, onward):
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
