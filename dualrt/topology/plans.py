"""Plans: the mixing plans that there are, and their names.

Owns the way from a graph to a plan on it. What a plan is, `mixing` says; what is drawn at random is
in `drawn`, shares by a rule in `weights`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

import networkx as nx

from dualrt.core.errors import TopologyError
from dualrt.topology import graphs, orientation
from dualrt.topology.checks import require_bipartite, require_doubly_stochastic, require_graph
from dualrt.topology.colouring import matchings
from dualrt.topology.drawn import RandomPairs, RandomRing, require_seed
from dualrt.topology.mixing import Exchange, Mixing, Periodic
from dualrt.topology.weights import weigh

if TYPE_CHECKING:
    from dualrt.topology.weights import Sparse


def pairwise(graph: nx.Graph[int]) -> Mixing:
    """Average with one neighbour a round, half and half, and with all of them in turn.

    The rounds are the matchings of a proper edge colouring. On an even ring that is the left or the
    right neighbour, alternating (arXiv 1907.05701); an odd ring takes three rounds, in which each
    learner sits one out, and a star as many as it has leaves. On a bipartite graph the side of
    learner 0 initiates, on others the lower number of each pair.

    Raises `TopologyError` unless the graph is connected, undirected and simple on 0..n-1.

    Examples
    --------
    >>> plan = pairwise(graphs.ring(4))
    >>> plan.period, plan.row(1, round=0), plan.row(1, round=1)
    (2, ((0, 0.5),), ((2, 0.5),))
    """
    require_graph(graph)
    arcs = {frozenset(arc): arc for arc in orientation.from_one_class(graph)}
    rounds = [
        [Exchange(*arcs[frozenset(edge)], share=0.5) for edge in matching]
        for matching in matchings(graph)
    ]
    return Periodic(graph.number_of_nodes(), rounds or [[]])


def neighbours(graph: nx.Graph[int]) -> Mixing:
    """Average with all neighbours in every round, with Metropolis-Hastings shares.

    An edge between learners of degree a and b has share 1 / (1 + max(a, b)), which makes the matrix
    doubly stochastic on any graph (Xiao, Boyd and Kim, J. Parallel Distrib. Comput. 67(1), 2007).
    On a ring these are the thirds of the papers' fixed mixing (arXiv 2002.01119); two learners have
    a half each. A learner initiates half of its edges: on a ring, the one to its right.

    Raises `TopologyError` unless the graph is connected, undirected and simple on 0..n-1.

    Examples
    --------
    >>> plan = neighbours(graphs.star(3))
    >>> plan.matrix(0).round(3).tolist()
    [[0.333, 0.333, 0.333], [0.333, 0.667, 0.0], [0.333, 0.0, 0.667]]
    """
    require_graph(graph)
    exchanges = [
        Exchange(mine, theirs, share=1 / (1 + max(graph.degree[mine], graph.degree[theirs])))
        for mine, theirs in orientation.balanced(graph)
    ]
    return Periodic(graph.number_of_nodes(), [exchanges])


def from_matrix(graph: nx.Graph[int], matrix: Sparse, source: str = "the matrix") -> Mixing:
    """Average with all neighbours in every round, with the shares of a matrix of shape [n, n].

    As `neighbours`, for any other rule: max-degree, fastest mixing, one's own. An edge without a
    share is left out. `source` is what an error calls the matrix.

    Raises `TopologyError` unless the graph is connected and the matrix symmetric and doubly
    stochastic.
    """
    require_graph(graph)
    require_doubly_stochastic(matrix.toarray(), source)
    exchanges = [
        Exchange(mine, theirs, share=float(matrix[mine, theirs]))
        for mine, theirs in orientation.balanced(graph)
        if matrix[mine, theirs] > 0
    ]
    return Periodic(graph.number_of_nodes(), [exchanges])


def random_ring(learners: int, seed: int) -> Mixing:
    """A fresh random ring each round: "random mixing", arXiv 2110.11199.

    The expected distance from the full average after k rounds is at most sqrt(L-1) / sqrt(3)^k.
    Up to three learners have one ring only, and get its fixed plan.

    Raises `TopologyError` for no learners or a seed outside 0..2**64 - 1.

    Examples
    --------
    >>> plan = random_ring(8, seed=7)
    >>> [plan.row(0, round) == random_ring(8, seed=7).row(0, round) for round in range(3)]
    [True, True, True]
    """
    require_seed(seed)
    return RandomRing(learners, seed) if learners > 3 else neighbours(graphs.ring(learners))


def random_pairs(learners: int, seed: int) -> Mixing:
    """A fresh random matching each round, half and half; one learner is idle if they are odd.

    Raises `TopologyError` for no learners or a seed outside 0..2**64 - 1.

    Examples
    --------
    >>> plan = random_pairs(5, seed=7)
    >>> sum(len(plan.row(learner, round=0)) for learner in range(5))
    4
    """
    return RandomPairs(learners, seed)


def one_sided(plan: Mixing) -> Mixing:
    """The same matrices, with every exchange started by the side that learner 0 is not on.

    On a ring the odd numbers initiate and the even ones respond, as in arXiv 1904.04956: what the
    lock-based protocol needs, so as not to wait in a cycle.

    Raises `TopologyError` for a plan whose exchanges make no bipartite graph, as those of a plan
    drawn at random, which joins any two.

    Examples
    --------
    >>> plan = one_sided(neighbours(graphs.ring(4)))
    >>> plan.initiates(0, round=0), plan.initiates(1, round=0)
    ((), ((0, 0.3333333333333333), (2, 0.3333333333333333)))
    """
    if plan.period is None:
        raise TopologyError(
            "a plan drawn at random lets learners of one side meet, on which the lock-based "
            "protocol can deadlock. Use pairwise or neighbours, or the delta exchange"
        )
    met: nx.Graph[int] = nx.empty_graph(plan.learners)
    met.add_edges_from((one, peer) for one in range(plan.learners) for peer in plan.peers(one))
    require_bipartite(met)
    side = nx.bipartite.color(met)
    rounds = [
        [
            Exchange(learner, peer, share)
            for learner in range(plan.learners)
            if side[learner] != side[0]
            for peer, share in plan.row(learner, round)
        ]
        for round in range(plan.period)
    ]
    return Periodic(plan.learners, rounds)


def plan(name: str, graph: nx.Graph[int], seed: int = 0, *, base: Path | None = None) -> Mixing:
    """The plan called `name` among the learners of `graph`.

    `PLANS` has the names; those of `weights.RULES`, and `matrix:FILE` relative to `base`, are plans
    in which everybody averages with all neighbours each round. Only random plans use the seed. They
    join any two learners, so they are refused on a graph that does not: "random-pairs" takes a
    complete graph, "random-ring" that or the ring which it permutes. A graph that `specs.build`
    made of a schedule brings its plan along, and its seed if it has one; it takes no other plan
    than "pairwise", which all of them are kinds of.

    Raises `TopologyError` for an unknown name, with the names that there are, and for a graph that
    the plan cannot keep to.

    Examples
    --------
    >>> plan("pairwise", graphs.star(5)).period
    4
    """
    require_graph(graph)
    own = graph.graph.get("plan", name)
    if name not in (own, "pairwise"):
        raise TopologyError(
            f"the schedule has the plan {own!r} and cannot be mixed by {name!r}. Leave the mixing "
            "out"
        )
    if own in PLANS:
        return PLANS[own](graph, graph.graph.get("seed", seed))
    return from_matrix(graph, weigh(own, graph, base), f"the matrix of {own}")


def _pairwise(graph: nx.Graph[int], _seed: int) -> Mixing:
    return pairwise(graph)


def _neighbours(graph: nx.Graph[int], _seed: int) -> Mixing:
    return neighbours(graph)


def _random_ring(graph: nx.Graph[int], seed: int) -> Mixing:
    if not (_is_complete(graph) or _is_ring(graph)):
        raise _beyond_the_graph("random-ring", graph, "a ring or a complete graph")
    return random_ring(graph.number_of_nodes(), seed)


def _random_pairs(graph: nx.Graph[int], seed: int) -> Mixing:
    if not _is_complete(graph):
        raise _beyond_the_graph("random-pairs", graph, "a complete graph")
    return random_pairs(graph.number_of_nodes(), seed)


PLANS: Final[Mapping[str, Callable[[nx.Graph[int], int], Mixing]]] = {
    "pairwise": _pairwise,
    "neighbours": _neighbours,
    "random-ring": _random_ring,
    "random-pairs": _random_pairs,
}
"""The plans by the names that scenarios use; each takes a graph and a seed."""


def _is_complete(graph: nx.Graph[int]) -> bool:
    learners = graph.number_of_nodes()
    return 2 * graph.number_of_edges() == learners * (learners - 1)


def _is_ring(graph: nx.Graph[int]) -> bool:
    return all(degree == 2 for _, degree in graph.degree)


def _beyond_the_graph(name: str, graph: nx.Graph[int], wanted: str) -> TopologyError:
    return TopologyError(
        f"{name} joins any two learners, but the graph has {graph.number_of_edges()} of the edges "
        f"that {graph.number_of_nodes()} learners can have, and the others would be used as well. "
        f"Give {wanted}, or take a plan that keeps to the graph: pairwise, neighbours"
    )
