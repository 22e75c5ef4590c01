"""Communication graphs as files: GraphML, node-link JSON, and edge lists.

Owns the formats and how the names in a file become learners 0..n-1. Knows nothing of what a graph
must satisfy to be mixed on; that is for `checks`.

A file whose names are all whole numbers must use exactly 0..n-1, in any order. Otherwise the
learners are numbered in the order of the file, and each keeps its name as the attribute `name`.
Attributes of nodes and edges survive a round trip.
"""

from __future__ import annotations

import ast
import json
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple
from xml.etree.ElementTree import ParseError

import networkx as nx

from dualrt.core.errors import TopologyError

Attributes = dict[str, Any]

ENCODING: Final = "utf-8-sig"
"""UTF-8, with or without the mark that editors on Windows put before it."""

SHOWN: Final = 80
"""Characters of a line that an error shows."""


class Listing(NamedTuple):
    """What a file says, before its names are numbered."""

    nodes: list[tuple[str, Attributes]]
    edges: list[tuple[str, str, Attributes]]
    directed: bool = False


def read(path: Path) -> nx.Graph[int]:
    """Read a graph, directed if the file says so; the suffix of its name says in which format.

    `READERS` has the suffixes. Nodes are in ascending order, whatever their order in the file.

    Raises `TopologyError` if there is no such file, no such format, or the file does not hold one
    graph without parallel edges.
    """
    reader = READERS.get(path.suffix)
    if reader is None:
        raise TopologyError(
            f"{path}: no graph format has the suffix {path.suffix!r}. Use {_any_of(READERS)}"
        )
    try:
        listing = reader(path)
    except FileNotFoundError:
        raise TopologyError(
            f"{path}: there is no such file. A relative path starts at the folder of the file that "
            "names it; give an absolute one if in doubt"
        ) from None
    except OSError as error:
        raise TopologyError(f"{path}: {error.strerror}. Name a readable file") from error
    except UnicodeDecodeError as error:
        raise TopologyError(f"{path}: not UTF-8 text ({error}). Save it as UTF-8") from error
    return _numbered(listing, path)


def write(graph: nx.Graph[int], path: Path) -> None:
    """Write a graph in the format that the suffix of `path` names, replacing what was there.

    `WRITERS` has the suffixes; an edge list is only read, because it cannot hold a lone learner.

    Raises `TopologyError` for another suffix, or an attribute that the format has no type for.
    """
    writer = WRITERS.get(path.suffix)
    if writer is None:
        raise TopologyError(
            f"{path}: graphs are not written with the suffix {path.suffix!r}. "
            f"Use {_any_of(WRITERS)}"
        )
    writer(graph, path)


def _read_graphml(path: Path) -> Listing:
    try:
        with path.open("rb") as stream:
            graph = nx.read_graphml(stream)
    except (nx.NetworkXError, ParseError, KeyError, ValueError) as error:
        raise TopologyError(
            f"{path}: not a GraphML file that can be read ({error}). Correct it, or write it again "
            "with the program that made it"
        ) from error
    return Listing(list(graph.nodes(data=True)), list(graph.edges(data=True)), graph.is_directed())


def _read_node_link(path: Path) -> Listing:
    text = path.read_text(encoding=ENCODING)
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise TopologyError(f"{path}: not JSON ({error}). Correct the place it names") from error
    except (ValueError, RecursionError) as error:  # a number of too many digits; lists in lists
        raise TopologyError(
            f"{path}: JSON that cannot be read ({error}). Write it as networkx.node_link_data does"
        ) from error
    if not isinstance(data, dict):
        raise TopologyError(
            f"{path}: holds a {type(data).__name__}. Node-link JSON is an object with the keys "
            '"nodes" and "edges"'
        )
    # "links" is what d3 and older releases of networkx call the edges.
    edges = data.get("edges", data.get("links"))
    nodes = data.get("nodes")
    if not isinstance(nodes, list) or not isinstance(edges, list):
        raise TopologyError(
            f'{path}: has the keys {sorted(data)}. Node-link JSON has a list "nodes" and a list '
            '"edges"'
        )
    return Listing(
        [(name, rest) for (name,), rest in (_taken(path, node, "id") for node in nodes)],
        [
            (one, other, rest)
            for (one, other), rest in (_taken(path, edge, "source", "target") for edge in edges)
        ],
        bool(data.get("directed")),
    )


def _taken(path: Path, item: object, *keys: str) -> tuple[list[str], Attributes]:
    """The names that a JSON object holds under `keys`, and its other entries."""
    if not isinstance(item, dict) or not all(
        isinstance(item.get(key), int | str) and not isinstance(item[key], bool) for key in keys
    ):
        wanted = " and ".join(f'"{key}"' for key in keys)
        raise TopologyError(
            f"{path}: {json.dumps(item)} stands where an object with {wanted} belongs. Write each "
            "as a whole number or a string"
        )
    rest = {key: value for key, value in item.items() if key not in keys}
    return [str(item[key]) for key in keys], rest


def _read_edge_list(path: Path) -> Listing:
    nodes: dict[str, Attributes] = {}
    edges = []
    for number, line in enumerate(path.read_text(encoding=ENCODING).splitlines(), start=1):
        fields = line.partition("#")[0].split(maxsplit=2)
        if not fields:
            continue
        try:
            one, other = fields[:2]
            attributes = dict(ast.literal_eval(fields[2])) if len(fields) > 2 else {}
        except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
            told = line if len(line) <= SHOWN else f"{line[:SHOWN]} ..."
            raise TopologyError(
                f"{path}, line {number}: {told!r} is not an edge. Write two learners, and after "
                "them nothing or a dictionary of attributes"
            ) from None
        nodes |= {one: {}, other: {}}
        edges.append((one, other, attributes))
    return Listing(list(nodes.items()), edges)


def _write_graphml(graph: nx.Graph[int], path: Path) -> None:
    try:
        lines = list(nx.generate_graphml(graph))
    except (nx.NetworkXError, TypeError) as error:
        raise TopologyError(
            f"{path}: GraphML holds numbers, strings and booleans only ({error}). Remove the "
            "attribute, or write node-link JSON"
        ) from error
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _write_node_link(graph: nx.Graph[int], path: Path) -> None:
    data = {
        "directed": graph.is_directed(),
        "multigraph": False,
        "graph": {},
        "nodes": [_joined(path, held, id=learner) for learner, held in graph.nodes(data=True)],
        "edges": [
            _joined(path, held, source=one, target=other)
            for one, other, held in graph.edges(data=True)
        ],
    }
    try:
        text = json.dumps(data, indent=1)
    except (TypeError, ValueError) as error:
        raise TopologyError(
            f"{path}: an attribute has no JSON form ({error}). Remove it, or turn it into numbers, "
            "strings and lists"
        ) from error
    path.write_text(text + "\n", encoding="utf-8")


def _joined(path: Path, attributes: Attributes, **learners: int) -> Attributes:
    """One JSON object of the learners' keys and the attributes, which must not use the same."""
    hidden = [key for key in learners if key in attributes]
    if hidden:
        raise TopologyError(
            f"{path}: the attribute {hidden[0]!r} = {attributes[hidden[0]]!r} has the name under "
            "which node-link JSON keeps the learner. Rename the attribute"
        )
    return {**learners, **attributes}


READERS: Final[Mapping[str, Callable[[Path], Listing]]] = {
    ".graphml": _read_graphml,
    ".json": _read_node_link,
    ".edgelist": _read_edge_list,
}
"""What can be read, by suffix."""

WRITERS: Final[Mapping[str, Callable[[nx.Graph[int], Path], None]]] = {
    ".graphml": _write_graphml,
    ".json": _write_node_link,
}
"""What can be written, by suffix."""


def _numbered(listing: Listing, path: Path) -> nx.Graph[int]:
    names = [name for name, _ in listing.nodes]
    twice = next((name for name, times in Counter(names).items() if times > 1), None)
    if twice is not None:
        raise TopologyError(f"{path}: the node {twice!r} is listed twice. Keep one of them")
    learner_of = _numbers(names, path)
    graph: nx.Graph[int] = nx.DiGraph() if listing.directed else nx.Graph()
    for name, attributes in sorted(listing.nodes, key=lambda node: learner_of[node[0]]):
        kept = attributes if name == str(learner_of[name]) else {"name": name, **attributes}
        graph.add_nodes_from([(learner_of[name], kept)])
    edges = []
    for one, other, attributes in listing.edges:
        for name in (one, other):
            if name not in learner_of:
                raise TopologyError(
                    f"{path}: the edge {one!r} - {other!r} ends at {name!r}, which is not among "
                    "the nodes. List the node, or correct the edge"
                )
        ends = (learner_of[one], learner_of[other])
        edges.append((*(ends if listing.directed else sorted(ends)), attributes))
    for start, end, attributes in sorted(edges, key=lambda edge: edge[:2]):
        if graph.has_edge(start, end):
            raise TopologyError(
                f"{path}: the edge between learners {start} and {end} is listed twice. Two "
                "learners have one share; keep one of them"
            )
        graph.add_edges_from([(start, end, attributes)])
    return graph


def _numbers(names: list[str], path: Path) -> dict[str, int]:
    """The learner that each name stands for."""
    if not all(name.removeprefix("-").isdecimal() for name in names):
        return {name: learner for learner, name in enumerate(names)}
    expected = {str(learner): learner for learner in range(len(names))}
    strange = [name for name in names if name not in expected]
    if strange:
        raise TopologyError(
            f"{path}: {len(names)} learners are numbered 0 to {len(names) - 1}, but one is called "
            f"{strange[0]}. Number them without gaps from 0"
        )
    return expected


def _any_of(suffixes: Mapping[str, object]) -> str:
    *others, last = suffixes
    return f"{', '.join(others)} or {last}"
