"""Placement: which learner of a graph goes to which server, so that few edges leave one.

Owns the renumbering that a cluster of servers with a thin network wants. Knows nothing of the
cluster but how many servers there are and how many learners each takes; learners fill servers in
the order of their numbers.
"""

from __future__ import annotations

import networkx as nx

TRIES = 4
"""Ways to halve that are tried; they differ in the order in which learners are looked at."""

SWEEPS = 20
"""Most passes of improvement; a pass that changes nothing ends them."""


def crossing(graph: nx.Graph[int], members: int) -> int:
    """Edges between learners of different servers, `members` learners a server."""
    return sum(a // members != b // members for a, b in graph.edges)


def cluster_aware(graph: nx.Graph[int], members: int) -> nx.Graph[int]:
    """Return the same graph, renumbered so that as few edges as practical leave a server.

    Mixing stays what it was, since shares do not depend on numbers; traffic over the servers'
    network cards, which all learners of a server share, goes down. Servers are filled one by one
    with the learner that has most edges into the server, or by halving (Kernighan and Lin, Bell
    Syst. Tech. J. 49(2), 1970); then pairs of learners change places as long as that saves an edge.
    Never worse than the numbering that came in.

    Examples
    --------
    Rows of a torus as servers lose to blocks:

    >>> from dualrt.topology.graphs import torus
    >>> crossing(torus(8, 8), 8), crossing(cluster_aware(torus(8, 8), 8), 8) <= 56
    (64, True)
    """
    learners = graph.number_of_nodes()
    starts = [
        [learner // members for learner in range(learners)],
        _grown(graph, members),
        *(_halved(graph, members, seed) for seed in range(TRIES)),
    ]
    best = min((_improved(graph, server) for server in starts), key=lambda s: _cut(graph, s))
    order = sorted(range(learners), key=lambda learner: (best[learner], learner))
    number = {learner: at for at, learner in enumerate(order)}
    renumbered: nx.Graph[int] = nx.empty_graph(learners)
    ends = ((number[a], number[b]) for a, b in graph.edges)
    renumbered.add_edges_from(sorted((min(a, b), max(a, b)) for a, b in ends))
    return renumbered


def _cut(graph: nx.Graph[int], server: list[int]) -> int:
    return sum(server[a] != server[b] for a, b in graph.edges)


def _grown(graph: nx.Graph[int], members: int) -> list[int]:
    """Servers filled greedily; of learners alike, the lowest number."""
    learners = graph.number_of_nodes()
    server = [-1] * learners
    free = dict.fromkeys(range(learners))
    for number in range(-(-learners // members)):
        near: dict[int, int] = {}
        for _ in range(min(members, len(free))):
            chosen = max(near, key=lambda at: (near[at], -at)) if near else next(iter(free))
            server[chosen] = number
            del free[chosen]
            near.pop(chosen, None)
            for neighbour in graph[chosen]:
                if neighbour in free:
                    near[neighbour] = near.get(neighbour, 0) + 1
    return server


def _halved(graph: nx.Graph[int], members: int, seed: int) -> list[int]:
    """Halves of the servers, and halves of those, each split where the fewest edges are."""
    server = [0] * graph.number_of_nodes()

    def split(learners: list[int], first: int) -> None:
        servers = -(-len(learners) // members)
        if servers == 1:
            for learner in learners:
                server[learner] = first
            return
        left = servers // 2 * members
        one, other = nx.community.kernighan_lin_bisection(
            graph.subgraph(learners),
            partition=(learners[:left], learners[left:]),
            max_iter=SWEEPS,
            seed=seed,
        )
        split(sorted(one), first)
        split(sorted(other), first + servers // 2)

    split(list(range(len(server))), 0)
    return server


def _improved(graph: nx.Graph[int], server: list[int]) -> list[int]:
    """Exchange two learners of different servers wherever it saves an edge."""
    server = list(server)
    for _ in range(SWEEPS):
        before = list(server)
        for one in graph:
            _exchange(graph, server, one)
        if server == before:
            break
    return server


def _exchange(graph: nx.Graph[int], server: list[int], one: int) -> None:
    """Change places with the learner that saves the most, if any does."""
    into = _edges_into(graph, server, one)
    wanted = [there for there in sorted(into) if there != server[one]]
    best, saved = one, 0
    for other in graph:
        if server[other] not in wanted:
            continue
        theirs = _edges_into(graph, server, other)
        gain = (
            into[server[other]]
            - into.get(server[one], 0)
            + theirs.get(server[one], 0)
            - theirs.get(server[other], 0)
            - 2 * graph.has_edge(one, other)
        )
        if gain > saved:
            best, saved = other, gain
    server[one], server[best] = server[best], server[one]


def _edges_into(graph: nx.Graph[int], server: list[int], learner: int) -> dict[int, int]:
    counts: dict[int, int] = {}
    for neighbour in graph[learner]:
        counts[server[neighbour]] = counts.get(server[neighbour], 0) + 1
    return counts
