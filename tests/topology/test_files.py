from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import networkx as nx
import pytest
from hypothesis import given

from dualrt.core.errors import TopologyError
from dualrt.topology import files, graphs

from .strategies import simple_graphs

SUFFIXES = sorted(files.WRITERS)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_graph_survives_a_round_trip(
    suffix: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("graphs") / f"graph{suffix}"

    @given(simple_graphs())
    def round_trip(graph: nx.Graph[int]) -> None:
        files.write(graph, path)
        assert nx.utils.graphs_equal(files.read(path), graph)

    round_trip()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_attributes_survive_a_round_trip(suffix: str, tmp_path: Path) -> None:
    graph = graphs.ring(4)
    graph.nodes[2].update(name="server c", x=0.5)
    graph.edges[0, 3].update(share=0.25, slow=True)
    files.write(graph, tmp_path / f"graph{suffix}")
    assert nx.utils.graphs_equal(files.read(tmp_path / f"graph{suffix}"), graph)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_writing_is_reproducible(suffix: str, tmp_path: Path) -> None:
    first, again = tmp_path / f"first{suffix}", tmp_path / f"again{suffix}"
    files.write(graphs.torus(3, 4), first)
    files.write(files.read(first), again)
    assert first.read_bytes() == again.read_bytes()


def test_networkx_reads_the_node_link_json_that_is_written(tmp_path: Path) -> None:
    files.write(graphs.star(4), tmp_path / "star.json")
    data = json.loads((tmp_path / "star.json").read_text())
    assert nx.utils.graphs_equal(nx.node_link_graph(data, edges="edges"), graphs.star(4))


def test_links_are_read_as_edges(tmp_path: Path) -> None:
    data = {"nodes": [{"id": 0}, {"id": 1}], "links": [{"source": 0, "target": 1}]}
    (tmp_path / "pair.json").write_text(json.dumps(data))
    assert list(files.read(tmp_path / "pair.json").edges) == [(0, 1)]


def test_an_edge_list_may_have_comments_blank_lines_and_attributes(tmp_path: Path) -> None:
    text = "# a triangle\n\n2 0 {'share': 0.25}  # slow\n0 1 {}\n1 2\n"
    (tmp_path / "triangle.edgelist").write_text(text)
    graph = files.read(tmp_path / "triangle.edgelist")
    assert list(graph.edges(data=True)) == [(0, 1, {}), (0, 2, {"share": 0.25}), (1, 2, {})]


def test_whole_numbers_are_learners_in_whatever_order(tmp_path: Path) -> None:
    (tmp_path / "path.edgelist").write_text("2 1\n1 0\n")
    graph = files.read(tmp_path / "path.edgelist")
    assert list(graph) == [0, 1, 2]
    assert list(graph.edges) == [(0, 1), (1, 2)]
    assert not any(graph.nodes[learner] for learner in graph)


def test_names_are_numbered_in_the_order_of_the_file_and_kept(tmp_path: Path) -> None:
    (tmp_path / "named.edgelist").write_text("west east\neast north\n")
    graph = files.read(tmp_path / "named.edgelist")
    names = [graph.nodes[learner]["name"] for learner in range(3)]
    assert names == ["west", "east", "north"]
    assert list(graph.edges) == [(0, 1), (1, 2)]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_directed_graph_stays_one(suffix: str, tmp_path: Path) -> None:
    graph = nx.DiGraph([(0, 1), (1, 2), (2, 0), (0, 2)])
    files.write(graph, tmp_path / f"graph{suffix}")
    read = files.read(tmp_path / f"graph{suffix}")
    assert read.is_directed()
    assert nx.utils.graphs_equal(read, graph)


def node_link(nodes: list[Any], edges: list[Any], **more: object) -> str:
    return json.dumps({"nodes": nodes, "edges": edges, **more})


GRAPHML = (
    '<graphml xmlns="http://graphml.graphdrawing.org/xmlns"><graph edgedefault="{}">'
    '<node id="0"/><node id="1"/><edge source="0" target="1"/>{}</graph></graphml>'
)


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("a.edgelist", "0 1\n2\n", "a.edgelist, line 2: '2' is not an edge"),
        ("a.edgelist", "0 1 fast\n", "line 1: '0 1 fast' is not an edge"),
        ("a.edgelist", "0 1 7\n", "line 1: '0 1 7' is not an edge"),
        ("a.edgelist", "0 1\n1 0\n", "edge between learners 0 and 1 is listed twice"),
        ("a.edgelist", "1 2\n2 3\n", "3 learners are numbered 0 to 2, but one is called 3"),
        ("a.edgelist", "0 1\n1 -1\n", "but one is called -1"),
        ("a.edgelist", "0 00\n", "but one is called 00"),
        ("a.edgelist", "0 1 " + "-" * 100_000 + "1\n", "---- ...' is not an edge"),
        ("a.json", "{", "a.json: not JSON (Expecting property name"),
        ("a.json", "[]", "holds a list. Node-link JSON is an object"),
        ("a.json", '{"nodes": []}', "has the keys ['nodes']"),
        ("a.json", node_link([{"id": True}], []), 'with "id" belongs'),
        ("a.json", "[" * 100_000, "a.json: JSON that cannot be read"),
        ("a.json", '{"nodes": ' + "1" * 5000 + "}", "a.json: JSON that cannot be read"),
        ("a.json", node_link([0], []), '0 stands where an object with "id" belongs'),
        ("a.json", node_link([{"id": 0}], [{"source": 0}]), 'with "source" and "target" belongs'),
        ("a.json", node_link([{"id": 0}, {"id": 0}], []), "the node '0' is listed twice"),
        (
            "a.json",
            node_link([{"id": 0}], [{"source": 0, "target": 1}]),
            "the edge '0' - '1' ends at '1', which is not among the nodes",
        ),
        ("a.graphml", "<graphml", "a.graphml: not a GraphML file that can be read"),
        ("a.graphml", "<graphml/>", "a.graphml: not a GraphML file that can be read"),
        (
            "a.graphml",
            GRAPHML.format("undirected", '<edge source="1" target="0"/>'),
            "edge between learners 0 and 1 is listed twice",
        ),
        ("a.gml", "", "no graph format has the suffix '.gml'. Use .graphml, .json or .edgelist"),
    ],
)
def test_a_file_that_is_not_one_simple_graph_is_refused(
    tmp_path: Path, name: str, text: str, told: str
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(TopologyError) as caught:
        files.read(tmp_path / name)
    assert told in str(caught.value)
    assert str(tmp_path / name) in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text"),
    [("pair.edgelist", "1 0\n"), ("pair.json", node_link([{"id": 1}, {"id": 0}], []))],
)
def test_the_mark_of_an_editor_on_windows_is_no_part_of_a_name(
    tmp_path: Path, name: str, text: str
) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8-sig")
    graph = files.read(tmp_path / name)
    assert list(graph) == [0, 1]
    assert not any(graph.nodes[learner] for learner in graph)


def test_a_file_in_another_encoding_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.edgelist").write_bytes("zürich genf\n".encode("latin-1"))
    with pytest.raises(TopologyError, match="not UTF-8 text"):
        files.read(tmp_path / "a.edgelist")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(TopologyError, match=r"absent\.json: there is no such file"):
        files.read(tmp_path / "absent.json")


def test_a_folder_is_not_a_file(tmp_path: Path) -> None:
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(TopologyError, match=r"folder\.json: .*directory.* Name a readable file"):
        files.read(tmp_path / "folder.json")


def test_a_format_that_cannot_hold_every_graph_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(TopologyError, match=r"suffix '\.edgelist'\. Use \.graphml or \.json"):
        files.write(graphs.ring(3), tmp_path / "ring.edgelist")


@pytest.mark.parametrize(
    ("suffix", "key", "value", "told"),
    [
        (".graphml", "at", [0, 1], "GraphML holds numbers, strings and booleans only"),
        (".json", "at", {1, 2}, "an attribute has no JSON form"),
        (".json", "id", 7, "the attribute 'id' = 7 has the name under which"),
    ],
)
def test_an_attribute_that_a_format_cannot_hold_is_refused(
    tmp_path: Path, suffix: str, key: str, value: object, told: str
) -> None:
    graph = graphs.ring(3)
    graph.nodes[0][key] = value
    with pytest.raises(TopologyError) as caught:
        files.write(graph, tmp_path / f"ring{suffix}")
    assert told in str(caught.value)
    assert not (tmp_path / f"ring{suffix}").exists()
