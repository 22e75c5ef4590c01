from __future__ import annotations

import networkx as nx
import pytest
from hypothesis import given

from dualrt.topology import graphs
from dualrt.topology.colouring import matchings

from .strategies import connected_graphs, simple_graphs


@given(simple_graphs())
def test_every_edge_is_in_one_matching(graph: nx.Graph[int]) -> None:
    coloured = [edge for matching in matchings(graph) for edge in matching]
    assert sorted(coloured) == sorted((min(e), max(e)) for e in graph.edges)


@given(simple_graphs())
def test_a_learner_is_in_a_matching_once(graph: nx.Graph[int]) -> None:
    for matching in matchings(graph):
        ends = [learner for edge in matching for learner in edge]
        assert len(ends) == len(set(ends))


@given(simple_graphs())
def test_one_colour_more_than_the_largest_degree_is_enough(graph: nx.Graph[int]) -> None:
    degree = max(degree for _, degree in graph.degree)
    spare = 0 if nx.is_bipartite(graph) else 1
    assert len(matchings(graph)) <= degree + spare


def test_every_small_graph_is_coloured_properly_and_with_few_colours() -> None:
    for graph in nx.graph_atlas_g()[1:]:
        coloured = matchings(graph)
        spare = 0 if nx.is_bipartite(graph) else 1
        assert len(coloured) <= max(degree for _, degree in graph.degree) + spare
        assert sorted(edge for matching in coloured for edge in matching) == sorted(graph.edges)
        assert all(nx.is_matching(graph, set(matching)) for matching in coloured)


@given(connected_graphs())
def test_matchings_do_not_depend_on_how_a_graph_was_built(graph: nx.Graph[int]) -> None:
    backwards: nx.Graph[int] = nx.Graph()
    backwards.add_nodes_from(reversed(list(graph)))
    backwards.add_edges_from((b, a) for a, b in reversed(list(graph.edges)))
    assert matchings(backwards) == matchings(graph)


@pytest.mark.parametrize("learners", [4, 6, 16])
def test_an_even_ring_alternates_right_and_left(learners: int) -> None:
    right, left = matchings(graphs.ring(learners))
    assert right == tuple((i, i + 1) for i in range(0, learners, 2))
    assert left == ((0, learners - 1), *((i, i + 1) for i in range(1, learners - 1, 2)))


@pytest.mark.parametrize(
    ("graph", "rounds"),
    [
        (graphs.path(1), 0),
        (graphs.ring(2), 1),
        (graphs.ring(7), 3),
        (graphs.star(9), 8),
        (graphs.complete(8), 7),
        (graphs.complete(9), 9),
        (graphs.hypercube(32), 5),
        (graphs.torus(4, 6), 4),
    ],
)
def test_the_families_take_as_few_rounds_as_can_be(graph: nx.Graph[int], rounds: int) -> None:
    assert len(matchings(graph)) == rounds
