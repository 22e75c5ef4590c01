from __future__ import annotations

from pathlib import Path

import networkx as nx
import pytest

from dualrt.core.errors import TopologyError
from dualrt.topology import specs

MODULE = """
import networkx as nx
import numpy as np

def wheel(learners):
    return nx.wheel_graph(learners)

def petersen():
    return nx.petersen_graph()

def either(learners=5):
    return nx.cycle_graph(learners)

def of_numpy():
    graph = nx.Graph(plan="none of that name")
    graph.add_edges_from((one, np.int64(2)) for one in np.arange(2))
    return graph

def nothing():
    return 3

def halves():
    return nx.Graph([(0.0, 1.0)])

def parallel():
    return nx.MultiGraph([(0, 1), (0, 1)])

def broken():
    raise ValueError("no such\\nday")

def two(rows, columns):
    return nx.grid_graph([rows, columns])

def leaves():
    raise SystemExit(7)

def talks():
    print("drawing a graph")
    return nx.path_graph(2)

def huge():
    return nx.empty_graph(100_001)

number = 7
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "graphs_of_mine.py").write_text(MODULE)
    (tmp_path / "broken_of_mine.py").write_text("import no_such_package_at_all\n")
    return tmp_path


def test_a_function_is_called_with_the_learners_if_it_takes_them(folder: Path) -> None:
    assert specs.build("graphs_of_mine:wheel", 6, base=folder).number_of_edges() == 10
    assert len(specs.build("graphs_of_mine:petersen", base=folder)) == 10
    assert len(specs.build("graphs_of_mine:petersen", 10, base=folder)) == 10
    assert len(specs.build("graphs_of_mine:either", base=folder)) == 5
    assert len(specs.build("graphs_of_mine:either", 8, base=folder)) == 8


def test_their_number_may_follow_its_name(folder: Path) -> None:
    assert len(specs.build("graphs_of_mine:wheel:7", base=folder)) == 7
    assert nx.utils.graphs_equal(specs.build("networkx:cycle_graph:9"), nx.cycle_graph(9))


def test_whole_numbers_of_any_type_become_learners_and_attributes_no_plan(folder: Path) -> None:
    graph = specs.build("graphs_of_mine:of_numpy", base=folder)
    assert {type(learner) for learner in graph} == {int}
    assert graph.graph == {}


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("graphs_of_mine:nothing", "returned a int"),
        ("graphs_of_mine:number", "has no function 'number'"),
        ("graphs_of_mine:halves", "a graph with the learner 0.0"),
        ("graphs_of_mine:parallel", "returned a MultiGraph"),
        ("graphs_of_mine:broken", "failed with ValueError: no such day ("),
        ("graphs_of_mine:leaves", "failed with SystemExit: 7 ("),
        ("graphs_of_mine:huge", "100,001 learners are more than the 100,000 that fit"),
        ("graphs_of_mine:wheel", "Write it as in graphs_of_mine:wheel:16"),
        ("graphs_of_mine:petersen:5", "petersen() takes no number of learners. Leave 5 out"),
        ("graphs_of_mine:two:4", "wants (rows, columns)"),
        ("graphs_of_mine:wheel:six", "'six' is not a size"),
        ("builtins:dict", "does not tell its arguments"),
        ("broken_of_mine:f", "failed with ModuleNotFoundError: No module named 'no_such_pack"),
        ("no_such_graphs:f", "there is no module 'no_such_graphs'"),
    ],
)
def test_what_cannot_be_called_says_why(folder: Path, name: str, told: str) -> None:
    with pytest.raises(TopologyError) as caught:
        specs.build(name, base=folder)
    assert told in str(caught.value)


def test_what_a_function_prints_is_no_result(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    specs.build("graphs_of_mine:talks", base=folder)
    assert tuple(capsys.readouterr()) == ("", "drawing a graph\n")
