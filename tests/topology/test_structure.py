"""Distances and weak points, against networkx's slow and certain ways."""

from __future__ import annotations

from typing import TYPE_CHECKING

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from scipy.sparse import csr_matrix

from dualrt.topology import graphs, specs, structure
from dualrt.topology.structure import Bound
from dualrt.topology.weights import adjacency

from .strategies import connected_graphs, directed_graphs, simple_graphs

if TYPE_CHECKING:
    from dualrt.topology.weights import Sparse


@given(connected_graphs())
def test_diameter_cut_and_weak_points_are_those_of_the_definition(graph: nx.Graph[int]) -> None:
    joined = adjacency(graph)
    across = structure.diameter(joined)
    assert across.exact
    assert across.value == nx.diameter(graph)
    assert structure.single_points(joined) == sorted(nx.articulation_points(graph))
    if len(graph) > 1:
        cut = structure.least_cut(joined, across.value)
        assert cut.exact
        assert cut.value == nx.edge_connectivity(graph)


@given(simple_graphs())
def test_connected_and_bipartite_are_those_of_the_definition(graph: nx.Graph[int]) -> None:
    joined = adjacency(graph)
    assert structure.is_connected(joined) == nx.is_connected(graph)
    if nx.is_connected(graph):
        side = structure.sides(joined)
        assert (side is not None) == nx.is_bipartite(graph)
        assert side is None or all(side[a] != side[b] for a, b in graph.edges)


def one_way(graph: nx.DiGraph[int]) -> Sparse:
    """Entry (i, j) is 1 where an edge leads from i to j: [n, n]."""
    learners, edges = graph.number_of_nodes(), list(graph.edges)
    ends = [edge[0] for edge in edges], [edge[1] for edge in edges]
    return csr_matrix((np.ones(len(edges)), ends), shape=(learners, learners))


@given(directed_graphs())
def test_along_edges_of_one_way_all_is_as_defined(graph: nx.DiGraph[int]) -> None:
    ways = one_way(graph)
    connected = nx.is_strongly_connected(graph)
    assert structure.is_strongly_connected(ways) == connected
    if not connected or len(graph) < 2:
        return
    assert structure.diameter_of_ways(ways) == Bound(int(nx.diameter(graph)), True)
    assert structure.least_cut_of_ways(ways) == Bound(int(nx.edge_connectivity(graph)), True)
    splitting = [
        learner
        for learner in graph
        if len(graph) > 2 and not nx.is_strongly_connected(graph.subgraph(set(graph) - {learner}))
    ]
    assert structure.single_points_of_ways(ways) == splitting


@pytest.mark.parametrize("hops", [(1, 2), (1, 5), (3, 4, 5), (1, 2, 4, 8)])
def test_where_all_push_alike_the_cut_is_the_number_of_their_pushes(hops: tuple[int, ...]) -> None:
    graph = nx.DiGraph([(i, (i + hop) % 13) for i in range(13) for hop in hops])
    assert structure.least_cut_of_ways(one_way(graph)) == Bound(
        int(nx.edge_connectivity(graph)), True
    )


def test_of_many_learners_one_way_the_bounds_are_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = nx.gnp_random_graph(40, 0.2, seed=3, directed=True)
    ways = one_way(graph)
    exact = structure.diameter_of_ways(ways), structure.least_cut_of_ways(ways)
    monkeypatch.setattr(structure, "FLOWS", 0)
    monkeypatch.setattr(structure, "DIRECTED_FLOWS", 0)
    across, cut = structure.diameter_of_ways(ways), structure.least_cut_of_ways(ways)
    assert not across.exact
    assert not cut.exact
    assert across.value <= exact[0].value
    assert cut.value >= exact[1].value


@pytest.mark.parametrize(
    ("spec", "across"),
    [("ring:1001", 500), ("torus:20x30", 25), ("path:700", 699), ("hypercube:256", 8)],
)
def test_the_diameter_of_a_large_family_is_known(spec: str, across: int) -> None:
    assert structure.diameter(adjacency(specs.build(spec))) == Bound(across, True)


def test_what_would_take_minutes_is_a_bound_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(structure, "FLOODED", 0)
    monkeypatch.setattr(structure, "FLOWS", 0)
    graph = specs.build("random-regular:40x5@3")
    joined = adjacency(graph)
    across, cut = structure.diameter(joined), structure.least_cut(joined, 4)
    assert not across.exact
    assert across.value <= nx.diameter(graph)
    assert (cut.exact, cut.value) == (False, 5)


@pytest.mark.parametrize(
    ("spec", "cut"),
    [("hierarchical:12x12/ring", 2), ("torus:6x9", 4), ("hypercube:64", 6), ("star:9", 1)],
)
def test_a_cut_that_is_a_bound_sees_groups_that_few_edges_join(
    spec: str, cut: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(structure, "FLOWS", 0)
    graph = specs.build(spec)
    assert nx.edge_connectivity(graph) == cut
    assert structure.least_cut(adjacency(graph), nx.diameter(graph)).value == cut


@given(connected_graphs())
def test_a_cut_between_two_distances_is_a_cut(graph: nx.Graph[int]) -> None:
    if len(graph) > 1:
        assert structure._fewest_outwards(adjacency(graph)) >= nx.edge_connectivity(graph)


def test_a_circulant_is_told_from_what_is_not() -> None:
    assert structure.is_circulant(adjacency(graphs.exponential(12)))
    assert not structure.is_circulant(adjacency(graphs.path(12)))


def test_hops_are_counted_from_the_start() -> None:
    np.testing.assert_array_equal(
        structure.distances(adjacency(graphs.ring(6)), 2), [2, 1, 0, 1, 2, 3]
    )
