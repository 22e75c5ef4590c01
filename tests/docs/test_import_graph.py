"""The picture of the architecture is made from the code, and shows the code as it is."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

from docs.import_graph import LOADING, USE, Edge, Import, changes, imports

ROOT = Path(__file__).resolve().parents[2]


def test_the_committed_edge_list_is_what_the_code_imports() -> None:
    command = [sys.executable, "docs/import_graph.py", "--check"]
    checked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stdout) == (0, "")


def test_a_change_is_told_by_its_edge() -> None:
    kept = [Edge("sim", "simpy", LOADING, 2), Edge("sim", "core", LOADING, 8)]
    found = [Edge("sim", "core", LOADING, 9), Edge("sim", "torch", USE, 1)]
    assert changes(kept, found) == [
        "gone: sim imports simpy, loading",
        "new: sim imports torch, use",
    ]


def test_imports_are_told_apart_by_when_they_happen() -> None:
    module = """
import torch
from ours import part, name
if TYPE_CHECKING:
    import zmq
def later():
    if now:
        from elsewhere import thing
"""
    assert list(imports(ast.parse(module), frozenset({"ours.part"}))) == [
        Import("torch", LOADING),
        Import("ours.part", LOADING),
        Import("ours", LOADING),
        Import("elsewhere", USE),
    ]
