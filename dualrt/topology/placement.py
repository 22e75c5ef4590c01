"""Placement: which learner of a graph goes to which server, so that few edges leave one.

Owns the renumbering that a cluster of servers with a thin network wants. Knows nothing of the
cluster but how many servers there are and how many learners each takes; learners fill servers in
the order of their numbers.
"""

from __future__ import annotations

import networkx as nx

TRIES = 4
"""Ways to halve that are tried; they differ in the order in which learners are looked at."""

MANY_EDGES = 10_000
"""Edges beyond which one way is tried: a second one takes ten seconds and saves little."""

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
    number = [0] * graph.number_of_nodes()
    for at, learner in enumerate(_order(graph, members)):
        number[learner] = at
    return _renumbered(graph, number)


def rack_aware(graph: nx.Graph[int], members: int, servers: int) -> nx.Graph[int]:
    """Return the same graph for racks of `servers` servers of `members` learners.

    First few edges leave a rack, whose links to the others are the thinnest of an oversubscribed
    network; then, within each rack, few leave a server.

    Examples
    --------
    >>> from dualrt.topology.graphs import torus
    >>> graph = rack_aware(torus(8, 8), 4, 8)
    >>> crossing(graph, 32), crossing(graph, 4) < crossing(torus(8, 8), 4)
    (16, True)
    """
    racked = cluster_aware(graph, members * servers)
    learners = graph.number_of_nodes()
    number = list(range(learners))
    for first in range(0, learners, members * servers):
        rack = range(first, min(first + members * servers, learners))
        for at, learner in enumerate(_order(racked.subgraph(rack), members)):
            number[learner] = first + at
    return _renumbered(racked, number)


def _order(graph: nx.Graph[int], members: int) -> list[int]:
    """The learners of a graph, those of a server side by side."""
    names = sorted(graph)
    place = {learner: at for at, learner in enumerate(names)}
    numbered: nx.Graph[int] = nx.empty_graph(len(names))
    numbered.add_edges_from(sorted((place[a], place[b]) for a, b in graph.edges))
    tries = TRIES if numbered.number_of_edges() <= MANY_EDGES else 1
    starts = [
        [at // members for at in numbered],
        _grown(numbered, members),
        *(_halved(numbered, members, seed) for seed in range(tries)),
    ]
    improved = (_improved(numbered, server) for server in starts)
    best = min(improved, key=lambda server: _cut(numbered, server))
    return [names[at] for at in sorted(numbered, key=lambda at: (best[at], at))]


def _renumbered(graph: nx.Graph[int], number: list[int]) -> nx.Graph[int]:
    renumbered: nx.Graph[int] = nx.empty_graph(len(number))
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
    inside: list[list[int]] = [[] for _ in range(max(server) + 1)]
    for learner, number in enumerate(server):
        inside[number].append(learner)
    into = [_edges_into(graph, server, learner) for learner in range(len(server))]
    for _ in range(SWEEPS):
        before = list(server)
        for one in graph:
            _exchange(graph, server, inside, into, one)
        if server == before:
            break
    return server


def _exchange(
    graph: nx.Graph[int],
    server: list[int],
    inside: list[list[int]],
    into: list[dict[int, int]],
    one: int,
) -> None:
    """Change places with the learner that saves the most, if any does.

    `inside` has the learners of each server, and `into` the edges of each learner into each server;
    both are kept up.
    """
    here, mine = server[one], into[one]
    best, saved = one, 0
    for there in sorted(mine):
        if there == here:
            continue
        drawn = mine[there] - mine.get(here, 0)
        for other in inside[there]:
            theirs = into[other]
            gain = drawn + theirs.get(here, 0) - theirs.get(there, 0)
            if gain > saved:
                gain -= 2 * graph.has_edge(one, other)
                if gain > saved:
                    best, saved = other, gain
    if best == one:
        return
    there = server[best]
    for learner, left, entered in ((one, here, there), (best, there, here)):
        inside[left].remove(learner)
        inside[entered].append(learner)
        server[learner] = entered
        for neighbour in graph[learner]:
            edges = into[neighbour]
            edges[left] -= 1
            if not edges[left]:
                del edges[left]
            edges[entered] = edges.get(entered, 0) + 1


def _edges_into(graph: nx.Graph[int], server: list[int], learner: int) -> dict[int, int]:
    counts: dict[int, int] = {}
    for neighbour in graph[learner]:
        counts[server[neighbour]] = counts.get(server[neighbour], 0) + 1
    return counts
