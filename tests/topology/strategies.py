"""Graphs for the property tests of this folder."""

from __future__ import annotations

import networkx as nx
from hypothesis import strategies as st


@st.composite
def directed_graphs(draw: st.DrawFn, max_learners: int = 9) -> nx.DiGraph[int]:
    """Any simple graph of one-way edges on learners 0..n-1, everyone reached or not."""
    learners = draw(st.integers(1, max_learners))
    graph: nx.DiGraph[int] = nx.empty_graph(learners, create_using=nx.DiGraph)
    pairs = ((i, j) for i in range(learners) for j in range(learners) if i != j)
    graph.add_edges_from(pair for pair in pairs if draw(st.integers(0, 2)))
    return graph


@st.composite
def simple_graphs(draw: st.DrawFn, max_learners: int = 12) -> nx.Graph[int]:
    """Any undirected simple graph on learners 0..n-1, connected or not."""
    learners = draw(st.integers(1, max_learners))
    graph: nx.Graph[int] = nx.empty_graph(learners)
    graph.add_edges_from((i, j) for j in range(learners) for i in range(j) if draw(st.booleans()))
    return graph


@st.composite
def connected_graphs(draw: st.DrawFn, max_learners: int = 12) -> nx.Graph[int]:
    """A random tree with random edges added, its learners numbered at random."""
    graph = draw(simple_graphs(max_learners))
    learners = graph.number_of_nodes()
    graph.add_edges_from((draw(st.integers(0, j - 1)), j) for j in range(1, learners))
    numbers = draw(st.permutations(range(learners)))
    return nx.relabel_nodes(graph, dict(enumerate(numbers)))
