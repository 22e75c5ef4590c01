"""Who may import whom: the rules that keep the two modes apart and algorithms free of both."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from docs.import_graph import LOADING, Edge

ROOT = Path(__file__).resolve().parents[2]

# tests/docs/test_import_graph.py proves that this list is what the code says.
EDGES = [Edge(*row) for row in json.loads((ROOT / "docs" / "imports.json").read_text())]
OURS = {edge.importer for edge in EDGES} | {"core"}


def imported_by(part: str) -> set[str]:
    return {edge.imported for edge in EDGES if edge.importer == part}


def test_core_imports_the_standard_library_only() -> None:
    assert imported_by("core") == set()


@pytest.mark.parametrize(
    "part",
    ["algorithms", "topology", "sim", "real", "replay", "workloads", "scenario", "observe"],
)
def test_a_part_knows_nothing_of_ours_but_the_language(part: str) -> None:
    assert imported_by(part) & OURS == {"core"}


def test_algorithms_import_nothing_from_elsewhere() -> None:
    assert imported_by("algorithms") == {"core"}


def test_topology_takes_nothing_from_core_but_the_errors() -> None:
    for module in (ROOT / "dualrt" / "topology").glob("*.py"):
        for line in module.read_text().splitlines():
            if line.startswith(("from dualrt.core", "import dualrt.core")):
                assert line.startswith("from dualrt.core.errors import"), f"{module.name}: {line}"


@pytest.mark.parametrize("heavy", ["torch", "zmq"])
def test_only_workloads_and_the_real_runtime_load_what_is_slow(heavy: str) -> None:
    loading = {edge.importer for edge in EDGES if edge.imported == heavy and edge.when == LOADING}
    assert loading <= {"doctor", "workloads", "real", "replay", "loop"}


def test_drivers_are_imported_by_the_composition_root_alone() -> None:
    importers = {edge.importer for edge in EDGES if edge.imported in ("sim", "real", "replay")}
    assert importers <= {
        "advice",
        "cli",
        "doctor",
        "keeping",
        "loop",
        "modes",
        "parting",
        "profile",
        "sweep",
        "terms",
    }


@pytest.mark.parametrize(
    ("mode", "driver"),
    [("simulated", "real"), ("real", "sim"), ("replayed", "sim"), ("replayed", "real")],
)
def test_a_mode_does_not_know_the_driver_of_the_other(mode: str, driver: str) -> None:
    """Beside the launch that both tell observers of, which is for type checkers alone."""
    text = (ROOT / "dualrt" / "modes" / f"{mode}.py").read_text()
    assert f"from dualrt.{driver}" not in text
