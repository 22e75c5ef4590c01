"""What tells the scenarios of a sweep's rows apart."""

from __future__ import annotations

from pathlib import Path

import pytest

from dualrt.scenario import load
from dualrt.scenario.shipped import find
from dualrt.sweep.run import fingerprint


@pytest.fixture
def scenario(tmp_path: Path) -> Path:
    shipped = find("sims", "quadratic-sd-psgd")
    assert shipped is not None
    file = tmp_path / "run.toml"
    file.write_text(shipped.read_text())
    return file


@pytest.mark.parametrize(
    ("setting", "name"),
    [
        ("topology.graph=mine.edgelist", "mine.edgelist"),
        ("topology.graph=hierarchical:2x2/mine.edgelist", "mine.edgelist"),
        ("topology.mixing=matrix:mine.csv", "mine.csv"),
    ],
)
def test_another_file_of_the_same_name_makes_another_scenario(
    scenario: Path, setting: str, name: str
) -> None:
    file = scenario.with_name(name)
    file.write_text("0 1\n")
    first = fingerprint(load(scenario, [setting]))
    assert fingerprint(load(scenario, [setting])) == first
    file.write_text("1 0\n")
    assert fingerprint(load(scenario, [setting])) != first


@pytest.mark.parametrize("graph", ["ring", "ring:4", "ring:x@", "none.edgelist", "mine:graph"])
def test_what_names_no_file_is_as_it_was(scenario: Path, graph: str) -> None:
    """Or one that is not there, or is no graph: who makes one of it says so."""
    one = load(scenario, [f"topology.graph={graph}"])
    assert fingerprint(one) == fingerprint(one)
    assert fingerprint(one) != fingerprint(load(scenario, ["topology.graph=path"]))
