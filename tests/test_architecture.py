"""What each part may need from elsewhere, and no order where there is none.

Who may import whom of ours, clocks, generators and pickles: tests/house.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "dualrt"

ELSEWHERE = {
    "core": set(),
    "algorithms": set(),
    "topology": {"cvxpy", "networkx", "numpy", "scipy"},
    "sim": {"simpy", "numpy", "networkx", "msgspec"},
    "real": {"torch", "zmq", "msgspec", "xxhash", "numpy", "safetensors"},
    "replay": {"torch"},
    "scenario": {"pydantic", "pydantic_core"},
}
"""Beside the standard library and ours; wherever in a module the import stands."""

DETERMINISTIC = ("core", "algorithms", "sim", "topology")


def modules(part: str) -> list[Path]:
    return sorted((PACKAGE / part).rglob("*.py"))


@pytest.mark.parametrize("part", ELSEWHERE)
def test_a_part_needs_no_more_than_it_is_for(part: str) -> None:
    for path in modules(part):
        needed = set(imported(ast.parse(path.read_text()))) - sys.stdlib_module_names - {"dualrt"}
        assert needed <= ELSEWHERE[part], path.name


def imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (alias.name.split(".")[0] for alias in names)
            case ast.ImportFrom(module=str(module), level=0):
                yield module.split(".")[0]


@pytest.mark.parametrize("part", DETERMINISTIC)
def test_nothing_deterministic_depends_on_the_order_of_a_set(part: str) -> None:
    """PYTHONHASHSEED decides it for strings, and addresses for most objects."""
    for path in modules(part):
        tree = ast.parse(path.read_text())
        assert list(set_walks(tree)) == [], path.name


@pytest.mark.parametrize(
    "code",
    [
        "for x in {1, 2}: pass",
        "[x for x in set(y)]",
        "s = {x for x in y}\nfor x in s: pass",
        "s: set[int] = set()\nlist(s)",
        "tuple(frozenset(y) | z)",
        "', '.join({'a', 'b'})",
        "s = set()\nfor n, x in enumerate(s): pass",
        "a, *b = {1, 2}",
        "f(*{1, 2})",
        "s = set()\ns.pop()",
    ],
)
def test_a_walk_through_a_set_is_seen(code: str) -> None:
    assert list(set_walks(ast.parse(code)))


@pytest.mark.parametrize(
    "code",
    [
        "for x in sorted({1, 2}): pass",
        "s = {1, 2}\nmax(x for x in s if x)",
        "s = set()\nlen(s), 1 in s, s | s",
        "{x for x in {1, 2}}",
        "for x in {1: 2}: pass",
        "d = {}\nd.pop(1)",
    ],
)
def test_what_does_not_depend_on_the_order_may_be_done_with_sets(code: str) -> None:
    assert not list(set_walks(ast.parse(code)))


ORDERLESS = {"sorted", "min", "max", "any", "all", "len", "set", "frozenset"}
"""Their result is the same in every order. A sum of floats is not."""

ORDERING = {"list", "tuple", "enumerate", "zip", "map", "filter", "iter", "sum", "join", "extend"}
"""Their result is not, or carries the order on."""


def set_walks(tree: ast.AST) -> Iterator[int]:
    """Lines that go through a set, as far as the text shows that it is one."""
    sets = _names_of_sets(tree)

    def is_set(node: ast.expr) -> bool:
        match node:
            case ast.Set() | ast.SetComp():
                return True
            case ast.Call(func=ast.Name(id="set" | "frozenset")):
                return True
            case ast.BinOp(left=left, op=ast.BitOr() | ast.BitAnd() | ast.Sub() | ast.BitXor()):
                return is_set(left)
            case ast.Name(id=name):
                return name in sets
        return False

    harmless = {
        argument
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and _called(node) in ORDERLESS
        for argument in node.args
    }
    for node in ast.walk(tree):
        match node:
            case ast.For(iter=walked) if is_set(walked):
                yield node.lineno
            case ast.ListComp() | ast.DictComp() | ast.GeneratorExp() if node not in harmless:
                if any(is_set(generator.iter) for generator in node.generators):
                    yield node.lineno
            case ast.Starred(value=walked) if is_set(walked):
                yield node.lineno
            case ast.Assign(targets=[ast.Tuple() | ast.List()], value=walked) if is_set(walked):
                yield node.lineno
            case ast.Call(args=arguments) if _called(node) in ORDERING:
                if any(map(is_set, arguments)):
                    yield node.lineno
            case ast.Call(func=ast.Attribute(value=owner, attr="pop"), args=[]) if is_set(owner):
                yield node.lineno


def _called(call: ast.Call) -> str:
    match call.func:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return ""


def _names_of_sets(tree: ast.AST) -> set[str]:
    """Names that are bound to a set anywhere in the module."""
    names: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Set() | ast.SetComp()):
                names.add(name)
            case ast.Assign(
                targets=[ast.Name(id=name)],
                value=ast.Call(func=ast.Name(id="set" | "frozenset")),
            ):
                names.add(name)
            case ast.AnnAssign(target=ast.Name(id=name), annotation=annotation) if ast.unparse(
                annotation
            ).partition("[")[0] in {"set", "frozenset"}:
                names.add(name)
    return names
