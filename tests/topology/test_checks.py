from __future__ import annotations

import math
from typing import Any

import networkx as nx
import numpy as np
import pytest
from hypothesis import given

from dualrt.core.errors import TopologyError
from dualrt.topology import checks, graphs
from dualrt.topology.mixing import Exchange, Mixing, Periodic
from dualrt.topology.plans import neighbours, random_pairs, random_ring

from .strategies import connected_graphs


@given(connected_graphs())
def test_a_graph_is_refused_as_not_bipartite_with_an_odd_cycle_of_its_own(
    graph: nx.Graph[int],
) -> None:
    if nx.is_bipartite(graph):
        checks.require_bipartite(graph)
        return
    with pytest.raises(TopologyError) as caught:
        checks.require_bipartite(graph)
    told = str(caught.value).partition("learners ")[2].partition(" form")[0]
    cycle = [int(learner) for learner in told.split(" - ")]
    assert cycle[0] == cycle[-1]
    assert len(cycle) % 2 == 0  # the first learner stands there twice
    assert len(set(cycle)) == len(cycle) - 1
    assert nx.is_path(graph, cycle)


def test_a_refusal_as_not_bipartite_names_graph_reason_and_remedy() -> None:
    with pytest.raises(TopologyError) as caught:
        checks.require_bipartite(graphs.ring(3), "graph 'ring:3'")
    assert str(caught.value).startswith(
        "graph 'ring:3' is not bipartite: learners 0 - 1 - 2 - 0 form an odd cycle"
    )
    assert "Use a bipartite graph" in str(caught.value)


@pytest.mark.parametrize(
    ("graph", "told"),
    [
        (nx.DiGraph([(0, 1)]), "the graph is a DiGraph: mixing is symmetric"),
        (nx.MultiGraph([(0, 1)]), "the graph is a MultiGraph"),
        (nx.Graph(), "the graph has no learners"),
        (nx.Graph([(1, 2)]), "2 learners named 1, 2: they must be numbered 0 to 1"),
        (nx.Graph([("a", "b")]), "2 learners named a, b"),
        (nx.Graph([(0, 1), (1, 1)]), "joins 1 to itself"),
        (nx.empty_graph(9), "no path leads from learner 0 to 1, 2, 3, 4, 5 and 3 more"),
    ],
)
def test_a_graph_that_cannot_be_mixed_on_is_refused(graph: nx.Graph[Any], told: str) -> None:
    with pytest.raises(TopologyError) as caught:
        checks.require_graph(graph)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([[1.0, 0.0]], "has shape (1, 2)"),
        ([[1.5, -0.5], [-0.5, 1.5]], "holds -0.5 at (0, 1). Shares are nonnegative"),
        ([[math.nan, 0.5], [0.5, 0.5]], "holds nan at (0, 0)"),
        ([[0.5, 0.5], [0.25, 0.75]], "not symmetric: 0.5 at (0, 1) but 0.25 at (1, 0)"),
        ([[0.5, 0.25], [0.25, 0.75]], "row 0 sums to 0.75"),
    ],
)
def test_a_matrix_that_moves_the_mean_is_refused(rows: list[list[float]], told: str) -> None:
    with pytest.raises(TopologyError) as caught:
        checks.require_doubly_stochastic(np.array(rows))
    assert told in str(caught.value)


def test_random_plans_pass_the_checks() -> None:
    checks.check_mixing(random_ring(10, seed=1))
    checks.check_mixing(random_pairs(10, seed=1))
    checks.check_mixing(random_ring(10, seed=1), rounds=1)


class Tampered(Mixing):
    """A good plan on the path 0 - 1 - 2, with one answer replaced."""

    def __init__(self, method: str, answer: object) -> None:
        self._plan = neighbours(graphs.path(3))
        self._method, self._answer = method, answer
        self.learners, self.period = 3, 1

    def _ask(self, method: str, learner: int, true: Any) -> Any:
        return self._answer if method == self._method and learner == 0 else true

    def row(self, learner: int, round: int) -> Any:
        return self._ask("row", learner, self._plan.row(learner, round))

    def initiates(self, learner: int, round: int) -> Any:
        return self._ask("initiates", learner, self._plan.initiates(learner, round))

    def peers(self, learner: int) -> Any:
        return self._ask("peers", learner, self._plan.peers(learner))


@pytest.mark.parametrize(
    ("method", "answer", "told"),
    [
        ("row", ((0, 0.5),), "the row of learner 0 lists [0]"),
        ("row", ((1, 0.25), (1, 0.25)), "the row of learner 0 lists [1, 1]"),
        ("row", ((1, 0.5),), "not symmetric"),
        ("row", (), "not symmetric"),
        ("peers", (2,), "learner 0 exchanges with 1, which its peers 2 leave out"),
        ("peers", (), "which its peers nobody leave out"),
        ("initiates", (), "the exchanges that learners initiate are not its edges"),
        ("initiates", ((1, 0.5),), "the exchanges that learners initiate are not its edges"),
        ("initiates", ((1, 1 / 3), (1, 1 / 3)), "see (learner, learner, share) (0, 1, 0.333"),
    ],
)
def test_a_plan_that_contradicts_itself_is_refused(method: str, answer: object, told: str) -> None:
    with pytest.raises(TopologyError) as caught:
        checks.check_mixing(Tampered(method, answer))
    assert "round 0 of the mixing plan" in str(caught.value)
    assert told in str(caught.value)


def test_a_plan_that_leaves_learners_apart_is_refused() -> None:
    apart = Periodic(4, [[Exchange(0, 1, 0.5)], [Exchange(2, 3, 0.5)]])
    with pytest.raises(TopologyError, match="joins in 2 rounds is not connected"):
        checks.check_mixing(apart)


def test_a_plan_that_gives_away_more_than_a_learner_has_is_refused() -> None:
    greedy = Periodic(3, [[Exchange(0, 1, 0.75), Exchange(0, 2, 0.75)]])
    with pytest.raises(TopologyError, match=r"holds -0.5 at \(0, 0\)"):
        checks.check_mixing(greedy)


def test_there_must_be_a_round_to_look_at() -> None:
    with pytest.raises(TopologyError, match="rounds = 0"):
        checks.check_mixing(neighbours(graphs.ring(3)), 0)
