"""Specifications: the short texts by which scenarios and commands name a graph or a schedule.

Owns the grammar. What a name means is in `graphs`, `schedules` and `files`.

    ring:16   torus:4x4   random-regular:64x4@7        a family, its size, and a seed
    hierarchical:8x8/ring                              8 groups of 8, joined as a ring
    cluster-aware:8x8/exponential                      8 servers of 8, few edges between servers
    cluster-aware:2x4x8/exponential                    2 racks of 4 servers of 8
    alternating-ring:16   one-peer-exponential:16      a schedule: another matrix each round
    random-matching:16@7   random-ring:16@7
    office.graphml   mine.json   mine.edgelist         a file
    mymodule:graph   mymodule:graph:16                 what a function returns
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, NamedTuple

import networkx as nx

from dualrt.core.errors import TopologyError
from dualrt.topology import files, functions, graphs, placement, plans, pushing, schedules, weights
from dualrt.topology.checks import require_graph, require_simple
from dualrt.topology.graphs import FAMILIES, SHAPED
from dualrt.topology.mixing import Mixing
from dualrt.topology.pushing import Pushes
from dualrt.topology.schedules import Schedule

GROUPED: Final = ("hierarchical", "cluster-aware")
"""Names that take two numbers and a graph: NAME:8x8/ring."""

PLAN_OF: Final[Mapping[str, tuple[str, str]]] = {
    "alternating-ring": ("ring", "pairwise"),
    "random-matching": ("complete", "random-pairs"),
    "random-ring": ("ring", "random-ring"),
}
"""Schedules that exchange pairwise: the graph of all their edges, and their plan."""

DIRECTED: Final[Mapping[str, Callable[[int], Pushes]]] = {
    "one-peer-exponential": pushing.one_peer_exponential,
}
"""Schedules that push one way; algorithms that exchange cannot use them."""

RANDOM: Final = ("random-regular", "random-matching", "random-ring")
"""Names that may have a seed after an @."""

KNOWN: Final = (*FAMILIES, *SHAPED, "random-regular", *GROUPED, *PLAN_OF, *DIRECTED)


class Topology(NamedTuple):
    """A specification, read: what is mixed on, and how."""

    spec: str
    mixing: str
    """The name of the rule or plan."""
    graph: nx.Graph[int] | None
    """None for a schedule, whose graph may be another each round, and where edges go one way."""
    schedule: Schedule
    plan: Callable[[], Mixing] | None
    """Makes the plan of exchanges, for learners to run; None where weights are pushed one way."""
    pushed: Pushes | None = None
    """The plan of pushes, where they are."""

    @property
    def pushes(self) -> bool:
        """Whether weights go one way, so that columns of its matrices sum to 1 and rows may not."""
        return self.pushed is not None

    def run(self) -> Mixing | Pushes:
        """The plan that learners run: of exchanges, or of pushes.

        Raises `TopologyError` for shares that no exchange carries out.
        """
        if self.pushed is not None:
            return self.pushed
        assert self.plan is not None
        return self.plan()


def build(spec: str, learners: int | None = None, *, base: Path | None = None) -> nx.Graph[int]:
    """Return the graph that a scenario asks for, ready for a mixing plan.

    A schedule gives the graph of all its edges, which remembers its plan, and its seed if it has
    one, for `plans.plan`.

    Parameters
    ----------
    spec : str
        As at the head of this module; a family without its size takes `learners`.
    learners : int or None
        Number of learners that there are to be; None to leave it to the size in `spec`.
    base : Path or None
        Folder at which a relative path and a module start; None for the working directory.

    Raises
    ------
    TopologyError
        If the name or the size cannot be read, the file is missing or malformed, the graph is
        not connected or has a self loop, or it has another number of learners than `learners`.

    Examples
    --------
    >>> build("torus", 12).number_of_edges() == build("torus:3x4").number_of_edges()
    True
    >>> build("hierarchical:2x3/path").number_of_edges()
    7
    """
    graph = draft(spec, learners, base=base)
    require_graph(graph, f"graph {spec!r}")
    return graph


def draft(spec: str, learners: int | None = None, *, base: Path | None = None) -> nx.Graph[int]:
    """Return the graph as `build` does, connected or not: for a check, which says so.

    Raises `TopologyError` as `build` does, but for a graph in parts.
    """
    graph = _draft(spec, learners, base or Path())
    require_simple(graph, f"graph {spec!r}")
    if learners not in (None, graph.number_of_nodes()):
        raise TopologyError(
            f"graph {spec!r} has {graph.number_of_nodes()} learners, but {learners} are asked for. "
            "Make the two agree"
        )
    return graph


def read(spec: str, mix: str | None = None, *, seed: int = 0, base: Path | None = None) -> Topology:
    """Read a specification together with how it is mixed.

    `mix` is a rule of `weights` (default metropolis), `matrix:FILE`, or a plan of `plans`; a
    schedule has its own, and a directed graph is pushed along. `seed` is that of random schedules,
    unless the specification has one.

    Raises `TopologyError` for what cannot be.
    """
    name, size, drawn = _taken_apart(spec)
    if mix is not None and (name in PLAN_OF or name in DIRECTED):
        raise TopologyError(
            f"{spec!r} is a schedule, which says how it is mixed. Leave {mix!r} out, or name a "
            "graph"
        )
    if name in DIRECTED:
        pushed = DIRECTED[name](_number(spec, size))
        return Topology(spec, "half and half", None, schedules.of_pushes(pushed), None, pushed)
    if name in PLAN_OF:
        family, called = PLAN_OF[name]
        seed = drawn if drawn is not None else seed
        if called == "random-pairs":
            plan = plans.random_pairs(_number(spec, size), seed)
        else:
            plan = plans.plan(called, FAMILIES[family](_number(spec, size)), seed)
        return Topology(spec, called, None, schedules.of_plan(plan), lambda: plan)
    graph = _draft(spec, None, base or Path())
    if graph.is_directed():
        if mix is not None:
            raise TopologyError(
                f"{spec!r} has edges that go one way, along which each learner pushes the same "
                f"part. Leave {mix!r} out, or give an undirected graph"
            )
        pushed = pushing.along_parts(graph, f"graph {spec!r}")
        return Topology(spec, "push", None, schedules.of_pushes(pushed), None, pushed)
    require_simple(graph, f"graph {spec!r}")
    mix = "metropolis" if mix is None else mix
    # No plan joins what is in parts; judged by any shares, such a graph fails for that alone.
    if mix in plans.PLANS and mix != "neighbours" and nx.is_connected(graph):
        made = plans.plan(mix, graph, seed)
        return Topology(spec, mix, graph, schedules.of_plan(made), lambda: made)
    matrix = weights.weigh("metropolis" if mix in plans.PLANS else mix, graph, base)
    return Topology(
        spec,
        mix,
        graph,
        schedules.constant(matrix),
        lambda: plans.from_matrix(graph, matrix, f"the matrix of {mix}"),
    )


def pushes(spec: str, learners: int | None = None, *, base: Path | None = None) -> Pushes:
    """What learners push that follow a specification whose edges may go one way.

    A directed schedule, a networkx.DiGraph that `module:function` returns, or any graph that
    `build` makes, with each edge both ways.

    Raises `TopologyError` as `build` does.
    """
    name, size, _ = _taken_apart(spec)
    if name in DIRECTED:
        made = DIRECTED[name](_number(spec, size, learners))
    else:
        graph = _draft(spec, learners, base or Path())
        if "plan" in graph.graph:
            raise TopologyError(
                f"{spec!r} is a schedule of exchanges, and nothing is exchanged by pushing. Name a "
                f"graph, or {', '.join(DIRECTED)}"
            )
        made = pushing.along(graph, f"graph {spec!r}")
    if learners not in (None, made.learners):
        raise TopologyError(
            f"graph {spec!r} has {made.learners} learners, but {learners} are asked for. "
            "Make the two agree"
        )
    return made


def file_of(spec: str) -> str | None:
    """The path of the graph file that a specification names, by itself or inside groups."""
    name, size, _ = _taken_apart(spec)
    if name in GROUPED:
        _, _, inner = (size or "").partition("/")
        return file_of(inner) if inner else None
    named = name not in KNOWN and Path(spec).suffix in files.READERS
    return spec if named else None


def _draft(spec: str, learners: int | None, base: Path) -> nx.Graph[int]:
    name, size, seed = _taken_apart(spec)
    if name in GROUPED:
        return _grouped(spec, name, size, learners, base)
    if name == "random-regular":
        return graphs.random_regular(*_two(spec, size), seed or 0)
    if name in PLAN_OF:
        family, plan = PLAN_OF[name]
        graph = FAMILIES[family](_number(spec, size, learners))
        graph.graph["plan"] = plan
        if seed is not None:
            graph.graph["seed"] = seed
        return graph
    if name in DIRECTED:
        raise TopologyError(
            f"{spec!r} pushes one way, and this algorithm exchanges both ways. Use sgp, or "
            "hypercube with the plan pairwise, which is exact in log2 n rounds"
        )
    if name in FAMILIES or name in SHAPED:
        sides = _sides(spec, size) if size is not None else _default_sides(name, learners)
        if name in FAMILIES and len(sides) != 1:
            raise TopologyError(f"{spec!r}: {name} has no sides. Write it as in {name}:16")
        return FAMILIES[name](*sides) if name in FAMILIES else SHAPED[name](*sides)
    if Path(spec).suffix in files.READERS:
        return _of_bearable_size(spec, files.read(base / spec))
    module, _, called = spec.partition(":")
    function, sized, number = called.partition(":")
    if function.isidentifier() and all(part.isidentifier() for part in module.split(".")):
        given = _number(spec, number) if sized else None
        made = functions.call(spec, module, function, given, learners, base)
        return _of_bearable_size(spec, made)
    raise _unknown(spec, name)


def _of_bearable_size(spec: str, graph: nx.Graph[int]) -> nx.Graph[int]:
    graphs.require_few_learners(repr(spec), graph.number_of_nodes())
    graphs.require_few_edges(repr(spec), graph.number_of_edges(), "a sparser graph")
    return graph


def _taken_apart(spec: str) -> tuple[str, str | None, int | None]:
    """Name, what follows its colon, and the seed after an @."""
    family, colon, rest = spec.partition(":")
    if family in GROUPED:  # a seed is the inner graph's
        return family, rest if colon else None, None
    body, at, seed = spec.partition("@")
    name, colon, size = body.partition(":")
    if name not in KNOWN:  # a file or a function, in whose names an @ is a letter
        return name, None, None
    if at and name not in RANDOM:
        raise TopologyError(f"{spec!r}: nothing in {name} is random. Leave @{seed} out")
    if at and not (seed.isascii() and seed.isdecimal() and int(seed) < 2**64):
        raise TopologyError(f"{spec!r}: {seed!r} is not a seed. Write a number, as in @7")
    return name, size if colon else None, int(seed) if at else None


def _grouped(
    spec: str, name: str, size: str | None, learners: int | None, base: Path
) -> nx.Graph[int]:
    shape, _, inner = (size or "").partition("/")
    if name == "cluster-aware" and shape.count("x") == 2:
        racks, servers, members = _positive(spec, shape, 3, "2x4x8")
        whole = racks * servers * members if learners is None else learners
        made = _inner(spec, inner or "exponential", whole, base)
        return placement.rack_aware(made, members, servers)
    groups, members = _two(spec, shape)
    if name == "hierarchical":
        return graphs.hierarchical(groups, members, _inner(spec, inner or "ring", groups, base))
    whole = groups * members if learners is None else learners
    return placement.cluster_aware(_inner(spec, inner or "exponential", whole, base), members)


def _inner(spec: str, inner: str, learners: int, base: Path) -> nx.Graph[int]:
    """The graph in a specification of groups: both ways, and the same each round."""
    graph = _draft(inner, learners, base)
    if "plan" in graph.graph:
        raise TopologyError(
            f"{spec!r}: {inner!r} is another graph each round, and groups need one. Name the graph"
        )
    require_simple(graph, f"graph {inner!r} in {spec!r}")
    return graph


def _sides(spec: str, size: str) -> tuple[int, ...]:
    parts = size.split("x")
    if not all(part.isascii() and part.isdecimal() for part in parts):
        raise TopologyError(
            f"{spec!r}: {size!r} is not a size. Write a number of learners, as in ring:16, or the "
            "sides of a torus, as in torus:4x4"
        )
    # By their length first: Python refuses to read a number of thousands of digits.
    if any(len(part) > 9 or int(part) > graphs.MOST_LEARNERS for part in parts):
        raise TopologyError(
            f"{spec!r}: more than {graphs.MOST_LEARNERS:,} learners do not fit. Give fewer"
        )
    return tuple(map(int, parts))


def _number(spec: str, size: str | None, learners: int | None = None) -> int:
    if size is None and learners is not None:
        return learners
    sides = _sides(spec, size or "")
    if len(sides) != 1:
        raise TopologyError(
            f"{spec!r} takes one number. Write it as in {spec.split(':', maxsplit=1)[0]}:16"
        )
    return sides[0]


def _two(spec: str, size: str | None) -> tuple[int, int]:
    one, other = _positive(spec, size or "", 2, "8x4")
    return one, other


def _positive(spec: str, size: str, count: int, example: str) -> tuple[int, ...]:
    sides = _sides(spec, size)
    if len(sides) != count or min(sides) < 1:
        name = spec.partition(":")[0]
        raise TopologyError(
            f"{spec!r} takes {count} numbers from 1. Write it as in {name}:{example}"
        )
    return sides


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


def _unknown(spec: str, name: str) -> TopologyError:
    near = difflib.get_close_matches(name.lower(), KNOWN, n=1)
    hint = f"Did you mean {near[0]!r}? " if near else ""
    return TopologyError(
        f"no graph is called {spec!r}. {hint}There are: {', '.join(KNOWN)}, files that end in "
        f"{', '.join(files.READERS)}, and module:function"
    )
