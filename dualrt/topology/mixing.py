"""Mixing plans: which learners average with which in each round, and with what shares.

Owns the sequence of matrices T_k of decentralised SGD,

    W_{k+1} = W_k T_k - a_k g(Phi_k, xi_k)        (arXiv 1907.05701, eq. 7; a column is a learner)

as a learner sees it: its own row, and the exchanges that it starts. All T_k are symmetric and
doubly stochastic, so the mean over learners stays where it is. An asynchronous learner carries out
T_k as pairwise exchanges of deltas, one an edge, with initiator I and responder R:

    w_I += share * (w_R - w_I)        w_R += share * (w_I - w_R)

Knows nothing of weights, messages or time. A round is only a number that each learner counts for
itself; two learners need not be in the same one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, final

import networkx as nx
import numpy as np

from dualrt.core.errors import TopologyError
from dualrt.topology import graphs, orientation
from dualrt.topology.checks import (
    Matrix,
    require_bipartite,
    require_doubly_stochastic,
    require_graph,
)
from dualrt.topology.colouring import matchings
from dualrt.topology.weights import weigh

if TYPE_CHECKING:
    from dualrt.topology.weights import Sparse

Row = tuple[tuple[int, float], ...]
"""(peer, share) pairs."""


class Exchange(NamedTuple):
    """One edge of one round: who starts, who answers, and the share that both apply."""

    initiator: int
    responder: int
    share: float


class Mixing(ABC):
    """A time-varying sequence of symmetric doubly stochastic matrices on learners 0..n-1.

    A plan is immutable and says the same in every process: learners that never talk about it agree
    on each round. Arguments are not checked on each call, because a simulator asks hundreds of
    thousands of times a second: a learner is in 0..n-1, and a round is 0 or more.

    Attributes
    ----------
    learners : int
        How many there are: n.
    period : int or None
        Rounds after which the sequence repeats; None if it is drawn at random and never does.
    """

    learners: int
    period: int | None

    @abstractmethod
    def row(self, learner: int, round: int) -> Row:
        """The others that the learner averages with in this round, ascending, with their shares.

        It keeps 1 less the sum of the shares for itself.
        """

    @abstractmethod
    def initiates(self, learner: int, round: int) -> Row:
        """The part of its row whose exchanges the learner starts; it answers the rest.

        Over all learners, each edge of the round occurs once.
        """

    @abstractmethod
    def peers(self, learner: int) -> tuple[int, ...]:
        """Everybody that the learner may exchange with in some round, ascending."""

    def matrix(self, round: int) -> Matrix:
        """T_k as an array of shape [n, n]."""
        matrix = np.zeros((self.learners, self.learners))
        for learner in range(self.learners):
            row = self.row(learner, round)
            for peer, share in row:
                matrix[learner, peer] = share
            matrix[learner, learner] = 1.0 - sum(share for _, share in row)
        return matrix


@final
class Periodic(Mixing):
    """A plan that repeats a list of rounds, each given by its exchanges.

    All rows are made beforehand; equal rows are one object, so that a round in which a learner
    meets the same peer again takes a pointer.

    Parameters
    ----------
    learners : int
    rounds : sequence of iterables of Exchange
        At least one round, which may be empty. `check_mixing` says whether the shares make a
        doubly stochastic matrix.
    """

    def __init__(self, learners: int, rounds: Sequence[Iterable[Exchange]]) -> None:
        if not rounds:
            raise TopologyError(
                "a periodic mixing plan has 0 rounds. Give at least one, which may be empty"
            )
        self.learners = learners
        self.period = len(rounds)
        shared: dict[Row, Row] = {}
        met: list[set[int]] = [set() for _ in range(learners)]
        all_rows, all_initiated = [], []
        for exchanges in rounds:
            row: list[list[tuple[int, float]]] = [[] for _ in range(learners)]
            initiated: list[list[tuple[int, float]]] = [[] for _ in range(learners)]
            for initiator, responder, share in exchanges:
                row[initiator].append((responder, share))
                row[responder].append((initiator, share))
                initiated[initiator].append((responder, share))
                met[initiator].add(responder)
                met[responder].add(initiator)
            all_rows.append(_frozen(row, shared))
            all_initiated.append(_frozen(initiated, shared))
        self._rows = tuple(all_rows)
        self._initiated = tuple(all_initiated)
        self._peers = tuple(tuple(sorted(peers)) for peers in met)

    def row(self, learner: int, round: int) -> Row:
        return self._rows[round % len(self._rows)][learner]

    def initiates(self, learner: int, round: int) -> Row:
        return self._initiated[round % len(self._initiated)][learner]

    def peers(self, learner: int) -> tuple[int, ...]:
        return self._peers[learner]


def _frozen(rows: list[list[tuple[int, float]]], shared: dict[Row, Row]) -> tuple[Row, ...]:
    frozen = (tuple(sorted(row)) for row in rows)
    return tuple(shared.setdefault(row, row) for row in frozen)


@final
class RandomRing(Mixing):
    """Each round a ring through all learners in a fresh random order, with shares of one third.

    The learner before and the learner after are drawn anew each round ("random mixing" of arXiv
    2110.11199); everybody initiates to the learner after it.

    Parameters
    ----------
    learners : int
        At least 3: fewer make no ring.
    seed : int
        In 0..2**64 - 1. Learners that share it draw the same rings.
    """

    period = None

    def __init__(self, learners: int, seed: int) -> None:
        if learners < 3:
            raise TopologyError(
                f"a random ring of {learners} learners: there is nothing to draw. Give at least 3"
            )
        self.learners = learners
        self.seed = _require_seed(seed)

    def row(self, learner: int, round: int) -> Row:
        order, place = _shuffled(self.learners, self.seed, round)
        at = place[learner]
        before, after = order[at - 1], order[at + 1 - self.learners]
        if before < after:
            return ((before, 1 / 3), (after, 1 / 3))
        return ((after, 1 / 3), (before, 1 / 3))

    def initiates(self, learner: int, round: int) -> Row:
        order, place = _shuffled(self.learners, self.seed, round)
        return ((order[place[learner] + 1 - self.learners], 1 / 3),)

    def peers(self, learner: int) -> tuple[int, ...]:
        return _all_others(learner, self.learners)


@final
class RandomPairs(Mixing):
    """Each round a perfect matching, uniformly at random, with shares of one half.

    With an odd number of learners one of them, another each time, sits the round out. Which of a
    pair initiates is as random as the pair.

    Parameters
    ----------
    learners : int
        At least 1.
    seed : int
        In 0..2**64 - 1. Learners that share it draw the same pairs.
    """

    period = None

    def __init__(self, learners: int, seed: int) -> None:
        if learners < 1:
            raise TopologyError(f"random pairs of {learners} learners. Give at least 1")
        self.learners = learners
        self.seed = _require_seed(seed)

    def row(self, learner: int, round: int) -> Row:
        order, place = _shuffled(self.learners, self.seed, round)
        beside = place[learner] ^ 1  # the pairs stand at places 0 and 1, 2 and 3, ...
        return ((order[beside], 0.5),) if beside < self.learners else ()

    def initiates(self, learner: int, round: int) -> Row:
        _, place = _shuffled(self.learners, self.seed, round)
        return self.row(learner, round) if place[learner] % 2 == 0 else ()

    def peers(self, learner: int) -> tuple[int, ...]:
        return _all_others(learner, self.learners)


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
    _require_seed(seed)
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


def _all_others(learner: int, learners: int) -> tuple[int, ...]:
    return tuple(peer for peer in range(learners) if peer != learner)


def _require_seed(seed: int) -> int:
    if not 0 <= seed < 2**64:
        raise TopologyError(f"seed = {seed} is not a 64-bit number. Give one in 0..2**64 - 1")
    return seed


# Asynchronous learners ask about different rounds at one time, the fast ones about later rounds
# than the slow; this many rounds cover the spread of a run, at about 60 kB each for 1,024 learners.
@lru_cache(maxsize=512)
def _shuffled(learners: int, seed: int, round: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The learners in the random order of a round, and the place of each in it.

    Sorts one raw 64-bit output of Philox, keyed by (seed, round), a learner. NumPy keeps the raw
    stream of a bit generator the same on every platform and release, which it does not promise for
    `Generator.permutation`; a counter-based key makes any round reachable without those before.
    """
    key = np.array([seed, round], dtype=np.uint64)
    draws = np.random.Philox(key=key).random_raw(learners)
    order = np.argsort(draws, kind="stable").tolist()
    place = [0] * learners
    for at, learner in enumerate(order):
        place[learner] = at
    return tuple(order), tuple(place)
