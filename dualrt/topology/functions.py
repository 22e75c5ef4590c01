"""Graphs that a function of one's own returns: `module:function`.

Owns finding the function, calling it, and saying where it failed. Knows nothing of what the graph
must satisfy; that is for `checks` and `pushing`.
"""

from __future__ import annotations

import importlib
import inspect
import sys
import traceback
from collections.abc import Callable
from contextlib import redirect_stdout
from numbers import Integral
from pathlib import Path
from typing import Any

import networkx as nx

from dualrt.core.errors import TopologyError


def call(
    spec: str, module: str, name: str, number: int | None, learners: int | None, base: Path
) -> nx.Graph[int]:
    """What the function returns, given the number of learners if there is one and it takes it.

    `number` is the one in the specification, which it must take; `learners` how many there are to
    be where that has none. The module is looked for on Python's path and in the folder `base`. The
    graph is a copy, with whole numbers of any type as Python's own; directed if the function's is.

    Raises `TopologyError` if there is no such function, it does not take its number, it fails, or
    it returns no graph on whole numbers without parallel edges.
    """
    function = _function(spec, module, name, base)
    signature = _signature(spec, function)
    given = learners if number is None else number
    if given is not None and _binds(signature, given):
        arguments: tuple[int, ...] = (given,)
    elif _binds(signature):
        if number is not None:
            raise TopologyError(
                f"{spec!r}: {name}{signature} takes no number of learners. Leave {number} out"
            )
        arguments = ()
    else:
        raise TopologyError(
            f"{spec!r} wants {signature}, and is given the number of learners if there is one. "
            f"Write it as in {module}:{name}:16, and give other arguments a default"
        )
    try:
        with redirect_stdout(sys.stderr):  # stdout carries results alone
            made = function(*arguments)
    except (Exception, SystemExit) as error:
        raise _failed(spec, error) from error
    return _copied(spec, made)


def _function(spec: str, module_name: str, name: str, base: Path) -> Callable[..., object]:
    beside = str(base.resolve())
    if beside not in sys.path:
        sys.path.append(beside)
    try:
        with redirect_stdout(sys.stderr):
            module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:
        absent = error.name if isinstance(error, ModuleNotFoundError) else None
        if absent is None or not f"{module_name}.".startswith(f"{absent}."):
            raise _failed(spec, error) from error
        raise TopologyError(
            f"{spec!r}: there is no module {module_name!r} on Python's path or in {beside}. Put "
            "its file there"
        ) from None
    function: Callable[..., object] | None = getattr(module, name, None)
    if not callable(function):
        raise TopologyError(
            f"{spec!r}: module {module_name!r} has no function {name!r}. Name one that returns a "
            "networkx.Graph"
        )
    return function


def _signature(spec: str, function: Callable[..., object]) -> inspect.Signature:
    try:
        return inspect.signature(function)
    except ValueError:
        raise TopologyError(
            f"{spec!r} does not tell its arguments. Name a function that is written in Python"
        ) from None


def _binds(signature: inspect.Signature, *arguments: int) -> bool:
    try:
        signature.bind(*arguments)
    except TypeError:
        return False
    return True


def _failed(spec: str, error: Exception | SystemExit) -> TopologyError:
    """What went wrong in somebody else's code, and where."""
    at = traceback.extract_tb(error.__traceback__)[-1]
    said = " ".join(str(error).split())
    return TopologyError(
        f"{spec!r} failed with {type(error).__name__}: {said} ({at.filename}, line {at.lineno}). "
        "Correct it there"
    )


def _copied(spec: str, made: object) -> nx.Graph[int]:
    if not isinstance(made, nx.Graph) or made.is_multigraph():
        raise TopologyError(
            f"{spec!r} returned a {type(made).__name__}. Return a networkx.Graph on 0..n-1, or a "
            "DiGraph for the algorithm sgp"
        )
    strange = next((node for node in made if not isinstance(node, Integral)), None)
    if strange is not None:
        raise TopologyError(
            f"{spec!r} returned a graph with the learner {strange!r}. Number them from 0, for "
            "example with networkx.convert_node_labels_to_integers"
        )
    copy: nx.Graph[Any] = nx.DiGraph() if made.is_directed() else nx.Graph()
    copy.add_nodes_from((int(node), held) for node, held in made.nodes(data=True))
    copy.add_edges_from((int(one), int(other), held) for one, other, held in made.edges(data=True))
    return copy
