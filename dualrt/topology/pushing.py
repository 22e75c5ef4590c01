"""Pushing: who gives which part of its weights to whom in each round, along edges of one way.

Owns the column-stochastic matrices P_k of push-sum, as a learner sees them: whom it pushes to, and
who pushes to it. What a learner gives away and what it keeps sum to 1; what it gets need not, which
is what push-sum weights are for (arXiv 1811.10792). Knows nothing of these weights.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import final

import networkx as nx

from dualrt.core.errors import TopologyError
from dualrt.topology.mixing import Row

Push = tuple[int, int, float]
"""Who gives, who gets, and the part of its own that the giver gives."""


@final
class Pushes:
    """A plan of pushes that repeats a list of rounds.

    Attributes: `learners` is their number, `period` the number of rounds.
    """

    def __init__(self, learners: int, rounds: Sequence[Iterable[Push]]) -> None:
        self.learners, self.period = learners, len(rounds)
        self._given: list[list[Row]] = []
        self._got: list[list[Row]] = []
        for pushes in rounds:
            given: list[list[tuple[int, float]]] = [[] for _ in range(learners)]
            got: list[list[tuple[int, float]]] = [[] for _ in range(learners)]
            for giver, getter, part in pushes:
                given[giver].append((getter, part))
                got[getter].append((giver, part))
            self._given.append([tuple(sorted(row)) for row in given])
            self._got.append([tuple(sorted(row)) for row in got])

    def row(self, learner: int, round: int) -> Row:
        """Who pushes to the learner, ascending, and which part of its own each gives."""
        return self._got[round % self.period][learner]

    def initiates(self, learner: int, round: int) -> Row:
        """Whom the learner pushes to, ascending, and which part; it keeps the rest of 1."""
        return self._given[round % self.period][learner]

    def peers(self, learner: int) -> tuple[int, ...]:
        """Whoever pushes to the learner in some round, and whoever it pushes to, ascending."""
        rows = (rounds[learner] for rounds in (*self._given, *self._got))
        return tuple(sorted({peer for row in rows for peer, _ in row}))


def one_peer_exponential(learners: int) -> Pushes:
    """In round k learner i pushes half of its own to i + 2^k; the period is log2 n, rounded up.

    Doubly stochastic, and for a power of two exact after one period (arXiv 2110.13363, lemma 1).

    Raises `TopologyError` for fewer than 2 learners.

    Examples
    --------
    >>> plan = one_peer_exponential(8)
    >>> plan.period, plan.initiates(3, round=2), plan.row(3, round=2)
    (3, ((7, 0.5),), ((7, 0.5),))
    """
    if learners < 2:
        raise TopologyError(
            f"one-peer-exponential:{learners}: nobody to push to. Give at least 2 learners"
        )
    hops = [1 << k for k in range((learners - 1).bit_length())]
    return Pushes(
        learners, [[(i, (i + hop) % learners, 0.5) for i in range(learners)] for hop in hops]
    )


def along(graph: nx.Graph[int], source: str = "the graph") -> Pushes:
    """Everybody pushes along all its outgoing edges each round, the same to each and to itself.

    An undirected edge is one each way. Learner j of out-degree d pushes 1 / (1 + d)
    (arXiv 1811.10792, app. A).

    Raises `TopologyError` unless the graph is simple on 0..n-1 and everyone reaches everyone.

    Examples
    --------
    >>> plan = along(nx.DiGraph([(0, 1), (1, 2), (2, 0), (0, 2)]))
    >>> plan.initiates(0, round=0)[0][0], plan.row(2, round=0)[1]
    (1, (1, 0.5))
    """
    plan = along_parts(graph, source)
    directed = graph.to_directed(as_view=True)
    if not nx.is_strongly_connected(directed):
        reached = {0, *nx.descendants(directed, 0)}
        reaching = {0, *nx.ancestors(directed, 0)}
        lost = min(set(range(plan.learners)) - (reached & reaching))
        raise TopologyError(
            f"{source} has no way from learner 0 to {lost} and back, so they would never agree. "
            "Add an edge"
        )
    return plan


def along_parts(graph: nx.Graph[int], source: str = "the graph") -> Pushes:
    """The same, whether everyone reaches everyone or not: for a check, which says so."""
    learners = graph.number_of_nodes()
    if graph.is_multigraph() or not learners or set(graph) != set(range(learners)):
        raise TopologyError(
            f"{source} is no simple graph on learners 0 to {learners - 1}. Number them so, without "
            "parallel edges"
        )
    directed = graph.to_directed(as_view=True)
    loops = sorted(nx.nodes_with_selfloops(graph))
    if loops:
        raise TopologyError(f"{source} joins {loops[0]} to itself. Remove the self loop")
    pushes = [
        (giver, getter, 1 / (1 + directed.out_degree(giver))) for giver, getter in directed.edges
    ]
    return Pushes(learners, [pushes])
