"""Communication graphs: who may exchange weights with whom.

Owns the families of graphs that have a name, and `build`, which turns what a scenario writes into
a graph that learners can be put on. Knows nothing of shares and rounds; `mixing` makes those from
any graph. Learners are the nodes 0..n-1 throughout.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterable, Mapping
from itertools import product
from pathlib import Path
from typing import Final

import networkx as nx

from dualrt.core.errors import TopologyError
from dualrt.topology import files
from dualrt.topology.checks import require_graph


def ring(learners: int) -> nx.Graph[int]:
    """Return the ring: learner i is joined to i - 1 and i + 1, modulo n.

    Every learner has two neighbours, so the cost of a round does not grow with n; mixing slows down
    with its square. Bipartite when n is even. Two learners share one edge, and one has none.

    Parameters
    ----------
    learners : int
        Number of learners n, at least 1.

    Raises
    ------
    TopologyError
        If there are no learners.

    Examples
    --------
    >>> list(ring(4).edges)
    [(0, 1), (0, 3), (1, 2), (2, 3)]

    References
    ----------
    The graph of the papers' experiments: arXiv 1907.05701; arXiv 2002.01119.
    """
    return _graph("ring", learners, ((i, (i + 1) % learners) for i in range(learners)))


def path(learners: int) -> nx.Graph[int]:
    """Return the path: learner i is joined to i + 1. A ring with one edge cut.

    Parameters
    ----------
    learners : int
        Number of learners n, at least 1.

    Raises
    ------
    TopologyError
        If there are no learners.

    Examples
    --------
    >>> list(path(4).edges)
    [(0, 1), (1, 2), (2, 3)]
    """
    return _graph("path", learners, ((i, i + 1) for i in range(learners - 1)))


def star(learners: int) -> nx.Graph[int]:
    """Return the star: learner 0 is joined to all others, which are joined to nobody else.

    The shape of a parameter server, and the least even load that a graph can put on its learners.

    Parameters
    ----------
    learners : int
        Number of learners n with the centre counted, at least 1. (`networkx.star_graph` does not
        count it.)

    Raises
    ------
    TopologyError
        If there are no learners.

    Examples
    --------
    >>> list(star(4).edges)
    [(0, 1), (0, 2), (0, 3)]
    """
    return _graph("star", learners, ((0, i) for i in range(1, learners)))


def complete(learners: int) -> nx.Graph[int]:
    """Return the complete graph: every learner is joined to every other.

    Averaging with all neighbours reaches the full average in one round, at n - 1 exchanges each.

    Parameters
    ----------
    learners : int
        Number of learners n, at least 1.

    Raises
    ------
    TopologyError
        If there are no learners.

    Examples
    --------
    >>> complete(16).number_of_edges()
    120
    """
    return _graph("complete", learners, ((i, j) for j in range(learners) for i in range(j)))


def torus(*sides: int) -> nx.Graph[int]:
    """Return the torus: a grid in which each row and column closes to a ring.

    Learners are numbered along the last side first: in two dimensions, row by row. Where a side is
    2, the step forward and the step back lead along the same edge; a side of 1 adds no edges.

    Parameters
    ----------
    sides : int
        Number of learners along each dimension, each at least 1.

    Raises
    ------
    TopologyError
        If there is no side, or one is below 1.

    Examples
    --------
    >>> sorted(torus(3, 3)[0])
    [1, 2, 3, 6]
    >>> sorted(torus(4, 4, 4)[0])
    [1, 3, 4, 12, 16, 48]
    """
    shape = "x".join(map(str, sides))
    if not sides or min(sides) < 1:
        raise TopologyError(f"torus:{shape}: every side needs a learner. Write it as in torus:4x4")
    learners = math.prod(sides)
    strides = [math.prod(sides[axis + 1 :]) for axis in range(len(sides))]
    corners = product(*map(range, sides))
    return _graph(
        "torus",
        learners,
        (
            (i, i + ((at[axis] + 1) % sides[axis] - at[axis]) * strides[axis])
            for i, at in enumerate(corners)
            for axis in range(len(sides))
        ),
    )


def hypercube(learners: int) -> nx.Graph[int]:
    """Return the hypercube: two learners are joined if their numbers differ in one bit.

    Every learner has log2 n neighbours. Bipartite; averaging along one dimension a round reaches
    the full average in log2 n rounds.

    Parameters
    ----------
    learners : int
        Number of learners n, a power of two.

    Raises
    ------
    TopologyError
        If n is not a power of two.

    Examples
    --------
    >>> sorted(hypercube(8)[0])
    [1, 2, 4]
    """
    if learners < 1 or learners & (learners - 1):
        raise TopologyError(
            f"hypercube:{learners}: a hypercube has a power of two of learners. "
            f"Take {_near_powers_of_two(learners)}"
        )
    dimensions = learners.bit_length() - 1
    return _graph(
        "hypercube",
        learners,
        ((i, i ^ (1 << d)) for i in range(learners) for d in range(dimensions)),
    )


def exponential(learners: int) -> nx.Graph[int]:
    """Return the exponential graph: learner i is joined to i + 1, i + 2, i + 4, ..., modulo n.

    The hops are all powers of two below n. Its spectral gap falls with 1 / log n only, at about
    2 log2 n neighbours. The source has directed edges; here each is used both ways, because the
    exchanges are symmetric.

    Parameters
    ----------
    learners : int
        Number of learners n, at least 1.

    Raises
    ------
    TopologyError
        If there are no learners.

    Examples
    --------
    >>> sorted(exponential(16)[0])
    [1, 2, 4, 8, 12, 14, 15]

    References
    ----------
    Ying et al., "Exponential Graph is Provably Efficient for Decentralized Deep Training",
    NeurIPS 2021, arXiv 2110.13363.
    """
    hops = [1 << power for power in range((learners - 1).bit_length())]
    return _graph(
        "exponential",
        learners,
        ((i, (i + hop) % learners) for i in range(learners) for hop in hops),
    )


FAMILIES: Final[Mapping[str, Callable[[int], nx.Graph[int]]]] = {
    "ring": ring,
    "path": path,
    "star": star,
    "complete": complete,
    "hypercube": hypercube,
    "exponential": exponential,
}
"""The families given by the number of learners: NAME or NAME:16."""

SHAPED: Final[Mapping[str, Callable[..., nx.Graph[int]]]] = {"torus": torus}
"""The families given by their sides: NAME:4x4; NAME alone is two-dimensional and near square."""


def build(spec: str, learners: int | None = None, *, base: Path | None = None) -> nx.Graph[int]:
    """Return the graph that a scenario asks for, ready for a mixing plan.

    Parameters
    ----------
    spec : str
        The name of a family, alone ("ring") or with its size ("ring:16", "torus:4x4"), or the path
        of a file that ends in .graphml, .json (node-link) or .edgelist.
    learners : int or None
        Number of learners that there are to be; None to leave it to the size in `spec`.
    base : Path or None
        Folder at which a relative path starts; None for the working directory.

    Raises
    ------
    TopologyError
        If the name or the size cannot be read, the file is missing or malformed, the graph is
        not connected or has a self loop, or it has another number of learners than `learners`.

    Examples
    --------
    >>> build("torus", 12).number_of_edges() == build("torus:3x4").number_of_edges()
    True
    """
    name, colon, size = spec.partition(":")
    if name in FAMILIES or name in SHAPED:
        sides = _sides(spec, size) if colon else _default_sides(name, learners)
        if name in FAMILIES and len(sides) != 1:
            raise TopologyError(f"{spec!r}: {name} has no sides. Write it as in {name}:16")
        graph = FAMILIES[name](*sides) if name in FAMILIES else SHAPED[name](*sides)
    elif Path(spec).suffix in files.READERS:
        graph = files.read((base or Path()) / spec)
    else:
        raise _unknown(spec, name)
    require_graph(graph, f"graph {spec!r}")
    if learners not in (None, graph.number_of_nodes()):
        raise TopologyError(
            f"graph {spec!r} has {graph.number_of_nodes()} learners, but {learners} are asked for. "
            "Make the two agree"
        )
    return graph


def _graph(family: str, learners: int, edges: Iterable[tuple[int, int]]) -> nx.Graph[int]:
    """A simple graph with its edges in ascending order; loops and repetitions are left out."""
    if learners < 1:
        raise TopologyError(f"{family}:{learners}: a graph needs learners. Give at least 1")
    graph: nx.Graph[int] = nx.empty_graph(learners)
    graph.add_edges_from(sorted({(min(i, j), max(i, j)) for i, j in edges if i != j}))
    return graph


def _sides(spec: str, size: str) -> tuple[int, ...]:
    parts = size.split("x")
    if not all(part.isascii() and part.isdecimal() for part in parts):
        raise TopologyError(
            f"{spec!r}: {size!r} is not a size. Write a number of learners, as in ring:16, or the "
            "sides of a torus, as in torus:4x4"
        )
    return tuple(map(int, parts))


def _default_sides(name: str, learners: int | None) -> tuple[int, ...]:
    if learners is None:
        example = f"{name}:4x4" if name in SHAPED else f"{name}:16"
        raise TopologyError(
            f"{name!r} does not say how many learners. Write {example}, or give their number"
        )
    if name in FAMILIES or learners < 1:
        return (learners,)
    rows = max(side for side in range(1, math.isqrt(learners) + 1) if learners % side == 0)
    if rows == 1 and learners > 1:
        raise TopologyError(
            f"{name!r}: {learners} learners make no rectangle. Take a number that is not prime, or "
            f"write {name}:1x{learners} for a single row"
        )
    return rows, learners // rows


def _near_powers_of_two(number: int) -> str:
    below = 1 << max(number.bit_length() - 1, 0)
    return f"{below} or {2 * below}" if number > 0 else "1 or 2"


def _unknown(spec: str, name: str) -> TopologyError:
    known = [*FAMILIES, *SHAPED]
    near = difflib.get_close_matches(name.lower(), known, n=1)
    hint = f"Did you mean {near[0]!r}? " if near else ""
    return TopologyError(
        f"no graph is called {spec!r}. {hint}There are: {', '.join(known)}, and files that end in "
        f"{', '.join(files.READERS)}"
    )
