from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import networkx as nx
import pytest

from dualrt.core.errors import TopologyError
from dualrt.topology import graphs, specs


@pytest.mark.parametrize("learners", [1, 2, 3, 4, 7, 16])
@pytest.mark.parametrize(
    ("family", "reference"),
    [
        (graphs.path, nx.path_graph),
        (graphs.star, lambda n: nx.star_graph(n - 1)),
        (graphs.complete, nx.complete_graph),
        (graphs.ring, lambda n: nx.cycle_graph(n) if n > 2 else nx.path_graph(n)),
    ],
)
def test_a_family_has_the_edges_of_its_definition(
    family: Callable[[int], nx.Graph[int]],
    reference: Callable[[int], nx.Graph[int]],
    learners: int,
) -> None:
    assert nx.utils.graphs_equal(family(learners), reference(learners))


@pytest.mark.parametrize("sides", [(3, 3), (4, 4), (3, 5), (3, 4, 5)])
def test_a_torus_is_a_periodic_grid(sides: tuple[int, ...]) -> None:
    reference = nx.grid_graph(tuple(reversed(sides)), periodic=True)
    numbered = nx.relabel_nodes(reference, {at: i for i, at in enumerate(sorted(reference))})
    assert nx.utils.graphs_equal(graphs.torus(*sides), numbered)


def test_a_torus_with_a_side_of_one_is_a_ring() -> None:
    assert nx.utils.graphs_equal(graphs.torus(1, 6), graphs.ring(6))


def test_a_two_by_two_torus_has_no_double_edges() -> None:
    assert list(graphs.torus(2, 2).edges) == [(0, 1), (0, 2), (1, 3), (2, 3)]


@pytest.mark.parametrize("dimensions", [0, 1, 2, 3, 4])
def test_a_hypercube_has_a_neighbour_a_bit(dimensions: int) -> None:
    cube = graphs.hypercube(2**dimensions)
    assert all(degree == dimensions for _, degree in cube.degree)
    assert all((a ^ b).bit_count() == 1 for a, b in cube.edges)


@pytest.mark.parametrize("learners", [1, 2, 3, 6, 11, 16])
def test_an_exponential_graph_hops_by_powers_of_two(learners: int) -> None:
    hops = [2**power for power in range(10) if 2**power < learners]
    expected = sorted({(+hop) % learners for hop in hops} | {-hop % learners for hop in hops})
    assert sorted(graphs.exponential(learners)[0]) == expected


def test_nodes_and_edges_come_in_ascending_order() -> None:
    for graph in (graphs.exponential(16), graphs.torus(3, 4), graphs.ring(5)):
        assert list(graph) == sorted(graph)
        assert list(graph.edges) == sorted(graph.edges)


@pytest.mark.parametrize(
    ("spec", "learners", "same_as"),
    [
        ("ring", 16, graphs.ring(16)),
        ("ring:16", None, graphs.ring(16)),
        ("ring:16", 16, graphs.ring(16)),
        ("torus:4x4", 16, graphs.torus(4, 4)),
        ("torus:2x3x4", None, graphs.torus(2, 3, 4)),
        ("torus", 12, graphs.torus(3, 4)),
        ("torus", 1, graphs.torus(1)),
        ("torus:7", None, graphs.ring(7)),
        ("hypercube:16", None, graphs.hypercube(16)),
        ("exponential", 8, graphs.exponential(8)),
        ("complete:1", 1, graphs.complete(1)),
    ],
)
def test_a_specification_names_a_graph(
    spec: str, learners: int | None, same_as: nx.Graph[int]
) -> None:
    assert nx.utils.graphs_equal(specs.build(spec, learners), same_as)


@pytest.mark.parametrize(
    ("spec", "learners", "told"),
    [
        ("ring", None, "'ring' does not say how many learners. Write ring:16"),
        ("torus", None, "Write torus:4x4"),
        ("ring:16", 8, "graph 'ring:16' has 16 learners, but 8 are asked for"),
        ("rnig:16", None, "no graph is called 'rnig:16'. Did you mean 'ring'?"),
        ("Hypercube", 8, "Did you mean 'hypercube'?"),
        ("qqq", 8, "no graph is called 'qqq'. There are: ring, path"),
        ("cluster.gml", None, "files that end in .graphml, .json, .edgelist"),
        ("ring:4x4", None, "ring has no sides. Write it as in ring:16"),
        ("ring:", None, "'' is not a size"),
        ("ring:-3", None, "'-3' is not a size"),
        ("torus:4x", None, "'4x' is not a size"),
        ("ring:0", None, "ring:0: a graph needs learners. Give at least 1"),
        ("ring", 0, "ring:0: a graph needs learners"),
        ("torus", 0, "torus:0: every side needs a learner"),
        ("torus:0x4", None, "torus:0x4: every side needs a learner"),
        ("torus", 7, "7 learners make no rectangle"),
        ("hypercube:12", None, "Take 8 or 16"),
        ("hypercube", 0, "Take 1 or 2"),
        ("absent.json", None, "absent.json: there is no such file"),
    ],
)
def test_a_specification_that_cannot_be_met_says_why(
    spec: str, learners: int | None, told: str
) -> None:
    with pytest.raises(TopologyError) as caught:
        specs.build(spec, learners)
    assert told in str(caught.value)


def test_a_torus_has_a_side() -> None:
    with pytest.raises(TopologyError, match="every side needs a learner"):
        graphs.torus()


def test_a_relative_path_starts_at_the_base(tmp_path: Path) -> None:
    (tmp_path / "triangle.edgelist").write_text("0 1\n1 2\n2 0\n")
    graph = specs.build("triangle.edgelist", 3, base=tmp_path)
    assert nx.utils.graphs_equal(graph, graphs.ring(3))


@pytest.mark.parametrize(
    ("edges", "told"),
    [
        ("0 1\n2 3\n4 5\n", "no path leads from learner 0 to 2, 3, 4, 5, so"),
        ("0 1\n1 1\n", "joins 1 to itself"),
        ("# nobody\n", "has no learners"),
    ],
)
def test_a_file_that_cannot_be_mixed_on_is_refused(tmp_path: Path, edges: str, told: str) -> None:
    (tmp_path / "graph.edgelist").write_text(edges)
    with pytest.raises(TopologyError) as caught:
        specs.build("graph.edgelist", base=tmp_path)
    assert told in str(caught.value)
    assert "graph 'graph.edgelist'" in str(caught.value)
