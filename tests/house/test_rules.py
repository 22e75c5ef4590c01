"""Rules of the house that a linter does not know."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted((ROOT / "dualrt").rglob("*.py"))
FOLDERS = ("dualrt", "tests", "docs", "benchmarks", "examples")
DETERMINISTIC = ("core", "algorithms", "sim", "topology")

BYTES_TO_CODE = {"pickle", "cPickle", "cloudpickle", "dill", "shelve", "marshal"}
CLOCKS = {"time", "datetime"}
OF_CUDA = ("nvidia-", "cuda-", "triton")

OVERLOOKED = re.compile(r"# (?:type: ignore|noqa)[^ ]*(?: [A-Z]+\d+,?)*$", re.MULTILINE)
"""A word to a checker with nothing after it."""


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.split(".")[0]


@pytest.mark.parametrize("folder", FOLDERS)
def test_nothing_is_pickled(folder: str) -> None:
    """docs/decisions/0009: bytes from elsewhere must never become code."""
    for path in (ROOT / folder).rglob("*.py"):
        assert not BYTES_TO_CODE & set(imported(path)), named(path)


@pytest.mark.parametrize("folder", FOLDERS)
def test_what_a_checker_is_told_to_overlook_has_its_reason_on_the_line(folder: str) -> None:
    for path in (ROOT / folder).rglob("*.py"):
        assert not OVERLOOKED.findall(path.read_text()), named(path)


def test_only_the_command_line_prints() -> None:
    """All else has its say through logging, which the user directs; a worker prints to a pipe."""
    printing = {
        named(path)
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "print"
    }
    assert {path for path in printing if not path.startswith("dualrt/cli/")} == {
        "dualrt/profile/worker.py"
    }


@pytest.mark.parametrize("part", DETERMINISTIC)
def test_what_must_be_deterministic_reads_no_clock(part: str) -> None:
    for path in (ROOT / "dualrt" / part).rglob("*.py"):
        assert not CLOCKS & set(imported(path)), named(path)


@pytest.mark.parametrize("part", [*DETERMINISTIC, "workloads"])
def test_what_must_be_deterministic_draws_from_no_global_generator(part: str) -> None:
    drawn = re.compile(
        r"(?<!torch\.)\b(?:random\.(?!Random\b)[a-z]\w*|np\.random\.(?!Generator|Philox)\w+)\("
    )
    for path in (ROOT / "dualrt" / part).rglob("*.py"):
        assert not drawn.search(path.read_text()), named(path)


@pytest.mark.parametrize("path", SOURCES, ids=named)
def test_a_module_says_what_it_owns(path: Path) -> None:
    tree = ast.parse(path.read_text())
    if tree.body and path.name != "__main__.py":
        assert ast.get_docstring(tree), named(path)


@pytest.mark.parametrize("path", SOURCES, ids=named)
def test_public_things_have_docstrings(path: Path) -> None:
    """A method that overrides another may leave it to the base, and says nothing new then."""
    tree = ast.parse(path.read_text())
    scopes: list[ast.Module | ast.ClassDef] = [tree]
    scopes += [node for node in tree.body if isinstance(node, ast.ClassDef) and public(node)]
    for scope in scopes:
        derived = isinstance(scope, ast.ClassDef) and bool(scope.bases)
        for node in scope.body:
            if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            overrides = derived and not isinstance(node, ast.ClassDef)
            if not public(node) or overrides or overloads(node):
                continue
            assert ast.get_docstring(node), f"{named(path)}: {node.name}"


def public(node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return not node.name.startswith("_")


def overloads(node: ast.AST) -> bool:
    marks = getattr(node, "decorator_list", [])
    return any(isinstance(mark, ast.Name) and mark.id == "overload" for mark in marks)


def test_constraints_pin_everything_that_is_needed() -> None:
    """Whatever the extras bring along, by however many steps.

    Not CUDA, which the default wheel of torch brings and the one for CPUs does not: each of its
    releases says itself which.
    """
    missing = needed("dualrt", ("train", "asr", "dev")) - {"dualrt"} - set(pins())
    assert {name for name in missing if not name.startswith(OF_CUDA)} == set()


def test_constraints_pin_no_local_version() -> None:
    """ "2.13.0+cpu" would fit one wheel only, "2.13.0" fits both."""
    assert not [version for version in pins().values() if "+" in version]


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pairs = (line.split("==") for line in lines if line and not line.startswith("#"))
    return {canonicalize_name(name): version for name, version in pairs}


def needed(name: str, extras: Sequence[str]) -> set[str]:
    """The distributions that installing one brings along, itself included."""
    found: set[str] = set()
    waiting = [(name, tuple(extras))]
    seen = set(waiting)
    while waiting:
        name, extras = waiting.pop()
        found.add(canonicalize_name(name))
        for text in metadata.requires(name) or ():
            asked = Requirement(text)
            marker = asked.marker
            if marker and not any(marker.evaluate({"extra": extra}) for extra in ("", *extras)):
                continue
            more = (asked.name, tuple(sorted(asked.extras)))
            if more not in seen:
                seen.add(more)
                waiting.append(more)
    return found
