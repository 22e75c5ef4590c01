from __future__ import annotations

from collections import Counter

import networkx as nx
from hypothesis import given

from dualrt.topology import graphs, orientation

from .strategies import connected_graphs


def test_a_balanced_orientation_points_every_edge_of_every_small_graph_once() -> None:
    for graph in nx.graph_atlas_g()[1:]:
        arcs = orientation.balanced(graph)
        assert sorted(map(sorted, arcs)) == sorted(map(sorted, graph.edges))


def test_a_balanced_orientation_gives_each_learner_half_of_its_edges() -> None:
    for graph in nx.graph_atlas_g()[1:]:
        started = Counter(initiator for initiator, _ in orientation.balanced(graph))
        for learner, degree in graph.degree:
            assert started[learner] in {degree // 2, (degree + 1) // 2}


@given(connected_graphs())
def test_one_class_points_every_edge_once_and_never_in_a_cycle(graph: nx.Graph[int]) -> None:
    arcs = orientation.from_one_class(graph)
    assert sorted(map(sorted, arcs)) == sorted(map(sorted, graph.edges))
    assert nx.is_directed_acyclic_graph(nx.DiGraph(arcs))


def test_on_a_bipartite_graph_nobody_both_initiates_and_responds() -> None:
    for graph in (graphs.ring(6), graphs.hypercube(16), graphs.star(5), graphs.torus(4, 4)):
        arcs = orientation.from_one_class(graph)
        initiators, responders = {a for a, _ in arcs}, {b for _, b in arcs}
        assert 0 in initiators
        assert not initiators & responders
