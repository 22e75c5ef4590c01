"""The picture of docs/architecture.md, made from what the code imports.

Owns the reading of imports, the edge list docs/imports.json, and the drawing docs/architecture.svg.

    python docs/import_graph.py            write both files
    python docs/import_graph.py --check    exit 1 if an edge is new or gone

A node is a package of dualrt, or a module that lies beside them. An edge says that one imports the
other, in how many of its modules, and *when*: "loading" for imports that run when the module does,
"use" for those inside functions, which is how torch and the drivers stay out of a program that does
not need them. What is imported for type checkers alone is no edge: it does not happen.
"""

from __future__ import annotations

import argparse
import ast
import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import networkx as nx

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "dualrt"
DATA = ROOT / "docs" / "imports.json"
PICTURE = ROOT / "docs" / "architecture.svg"

LOADING, USE = "loading", "use"

ENTRY_POINTS = ("dualrt", "__main__")
"""The package's own docstring and version, and `python -m dualrt`: no part of any layer."""


class Import(NamedTuple):
    """One imported name, as written in one module."""

    target: str
    """Dotted, as far as it is a module: "dualrt.core.effects", "torch"."""
    when: str


class Edge(NamedTuple):
    """`importer` needs `imported`; `modules` of its modules say so."""

    importer: str
    imported: str
    when: str
    modules: int


def modules(package: Path) -> dict[str, Path]:
    """Every module under a package, by dotted name."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(tree: ast.AST, known: frozenset[str], when: str = LOADING) -> Iterator[Import]:
    """What a module imports, with when; `known` are our modules, to tell them from names in one."""
    for node in ast.iter_child_nodes(tree):
        match node:
            case ast.Import(names=names):
                yield from (Import(alias.name, when) for alias in names)
            case ast.ImportFrom(module=str(module), names=names):
                for alias in names:
                    inner = f"{module}.{alias.name}"
                    yield Import(inner if inner in known else module, when)
            case ast.If(test=ast.Name(id="TYPE_CHECKING"), orelse=otherwise):
                yield from imports(ast.Module(otherwise, []), known, when)
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Lambda():
                yield from imports(node, known, USE)
            case _:
                yield from imports(node, known, when)


def part(module: str) -> str:
    """The node that a module of ours belongs to."""
    return module.split(".")[1] if "." in module else module


def edges() -> list[Edge]:
    """All edges of the graph, in alphabetical order, third-party packages included.

    An import that happens while loading makes the same import on use no news.
    """
    found = modules(PACKAGE)
    known = frozenset(found)
    importers: dict[tuple[str, str, str], set[str]] = {}
    for module, path in found.items():
        importer = part(module)
        if importer in ENTRY_POINTS:
            continue
        for target, when in imports(ast.parse(path.read_text()), known):
            imported = part(target) if target in known else target.split(".")[0]
            ours = target in known
            if imported in (importer, *ENTRY_POINTS) or _is_standard(imported, ours=ours):
                continue
            importers.setdefault((importer, imported, when), set()).add(module)
    return [
        Edge(importer, imported, when, len(where))
        for (importer, imported, when), where in sorted(importers.items())
        if when == LOADING or (importer, imported, LOADING) not in importers
    ]


def _is_standard(name: str, *, ours: bool) -> bool:
    return not ours and name in sys.stdlib_module_names


def changes(kept: list[Edge], found: list[Edge]) -> list[str]:
    """The edges that one list has and the other has not, a line each."""
    old, new = ({(edge.importer, edge.imported, edge.when) for edge in e} for e in (kept, found))
    return [
        f"{'new' if edge in new else 'gone'}: {edge[0]} imports {edge[1]}, {edge[2]}"
        for edge in sorted(old ^ new)
    ]


def encoded(graph: list[Edge]) -> str:
    """The edge list as JSON, an edge a line, so that a diff says what changed."""
    rows = ",\n".join(f"  {json.dumps(list(edge))}" for edge in graph)
    return f"[\n{rows}\n]\n"


# --- the drawing ----------------------------------------------------------------------------------

INK, FAINT, PAPER, WHEN_USED = "#22313f", "#8494a3", "#ffffff", "#b5651d"
LANGUAGE, PARTS, TOP = "the language", "parts that know the language", "composition root"
COLOURS = {LANGUAGE: "#fbe7c6", PARTS: "#d8e8f5", TOP: "#dcefdc"}
ROLE = {
    "core": "effects, learner, weights, versions, records",
    "algorithms": "one a file,\nbeside its equation",
    "workloads": "model, data,\nloss, cost",
    "topology": "graphs and\nmixing plans",
    "scenario": "the one file\nthat describes a run",
    "observe": "what records\nbecome",
    "sim": "driver: effects\nare simulated",
    "real": "driver: effects\nhappen",
    "settings": "from a scenario's\nkeys to a class",
    "composition": "from a scenario\nto learners",
    "terms": "a scenario, for the\nreal runtime",
    "keeping": "checkpoints that\nare asked for",
    "parting": "what processes\nleave at the end",
    "modes": "a scenario, simulated\nor run for real",
    "api": "simulate, train",
    "loop": "join: a loop of\none's own",
    "advice": "a topology on\na cluster",
    "profile": "this machine\nas a cluster",
    "calibrate": "settings fitted to\nmeasured figures",
    "doctor": "will a run work\non these machines",
    "sweep": "many simulations,\na row each",
    "swarm": "random faults, and\nwhat must hold",
    "faults": "faults in code",
    "cli": "the command dualrt",
}
ROWS = (
    ("core",),
    ("workloads", "algorithms", "topology", "scenario", "observe", "real", "sim", "faults"),
    ("composition", "settings", "terms", "keeping", "parting", None, None, None),
    (None, "modes"),
    ("api", None, None),
    ("loop", "doctor", "calibrate", "sweep", "swarm", "profile", "advice"),
    ("cli",),
)
"""From below, and from left to right: neighbours are imported by the same, so edges cross least.
None is a place left empty, for edges to pass."""

HEIGHT, ROW, STEP = 1.0, 1.8, 2.1
INCHES = 0.76
"""Of a unit, at which texts fit their boxes."""

Point: TypeAlias = tuple[float, float]


def layer(graph: nx.DiGraph[str], name: str) -> str:
    """Where a part belongs, by what it imports: nothing of ours, `core` alone, or more."""
    imported = set(graph.successors(name))
    return TOP if imported - {"core"} else PARTS if imported else LANGUAGE


def positions(graph: nx.DiGraph[str]) -> dict[str, Point]:
    """Centres of the boxes; a part that no row names stands in the highest row of its layer."""
    rows: list[list[str | None]] = [list(row) for row in ROWS]
    highest = {LANGUAGE: 0, PARTS: 1, TOP: len(ROWS) - 2}
    for name in graph:
        if not any(name in row for row in rows):
            rows[highest[layer(graph, name)]].append(name)
    return {
        name: (STEP * (place - (len(row) - 1) / 2), ROW * height)
        for height, row in enumerate(rows)
        for place, name in enumerate(row)
        if name is not None and name in graph
    }


class Picture:
    """The graph of our own parts, drawn; what they import from elsewhere stands in the boxes."""

    def __init__(self, found: list[Edge]) -> None:
        ours = {part(module) for module in modules(PACKAGE)} - {*ENTRY_POINTS}
        self.edges = [edge for edge in found if edge.imported in ours]
        self.graph: nx.DiGraph[str] = nx.DiGraph()
        self.graph.add_nodes_from(sorted(ours))
        self.graph.add_edges_from((edge.importer, edge.imported) for edge in self.edges)
        # Who imports the API needs not be shown to import what that imports.
        self.shown = set(nx.transitive_reduction(self.graph).edges)
        self.where = positions(self.graph)
        self.others = {
            name: [edge.imported for edge in found if edge.importer == name and edge not in self]
            for name in sorted(ours)
        }

    def __contains__(self, edge: Edge) -> bool:
        return edge in self.edges

    def save(self, picture: Path) -> None:
        """Draw it to a file; the same graph gives the same bytes."""
        import matplotlib as mpl

        mpl.use("Agg")
        import matplotlib.pyplot as plt

        mpl.rcParams["svg.hashsalt"] = "dualrt"
        left, right, top = self._extent()
        size = INCHES * (right - left), INCHES * (top + 0.8)
        figure = plt.figure(figsize=size)
        axes = figure.add_axes((0, 0, 1, 1), aspect="equal")
        axes.axis("off")
        self._bands(axes)
        for edge in self.edges:
            if (edge.importer, edge.imported) in self.shown:
                self._arrow(axes, edge)
        for name in self.graph:
            self._box(axes, name)
        self._legend(axes)
        metadata = {"Date": None} if picture.suffix == ".svg" else None
        figure.savefig(picture, bbox_inches="tight", pad_inches=0.1, metadata=metadata)
        plt.close(figure)

    def _extent(self) -> tuple[float, float, float]:
        """Left, right and upper end of what is drawn."""
        xs, ys = zip(*self.where.values(), strict=True)
        return min(xs) - 1.1, max(xs) + 1.1, max(ys) + 0.95

    def _bands(self, axes: Axes) -> None:
        left, right, top = self._extent()
        bounds = {LANGUAGE: (0, 0), PARTS: (1, 1), TOP: (2, len(ROWS) - 1)}
        for title, (first, last) in bounds.items():
            bottom, height = ROW * first - 0.7, ROW * (last - first) + 1.65
            _rounded(axes, (left, bottom), (right - left, height), COLOURS[title])
            label: dict[str, Any] = {"color": INK, "fontsize": 11, "va": "top", "ha": "right"}
            axes.text(right - 0.2, bottom + height - 0.1, title, zorder=5, **label)
        axes.set_xlim(left, right)
        axes.set_ylim(-0.8, top)

    def _box(self, axes: Axes, name: str) -> None:
        (x, y), width = self.where[name], self._width(name)
        _rounded(axes, (x - width / 2, y - HEIGHT / 2), (width, HEIGHT), PAPER, outlined=True)
        text: dict[str, Any] = {"ha": "center", "va": "center", "zorder": 4}
        axes.text(x, y + 0.33, name, fontsize=12, weight="bold", color=INK, **text)
        axes.text(x, y + 0.01, ROLE.get(name, ""), fontsize=8, color=INK, **text)
        others = _wrapped(self.others[name] or ["standard library only"])
        axes.text(x, y - 0.34, others, fontsize=6.3, color=FAINT, linespacing=1.1, **text)

    def _width(self, name: str) -> float:
        return 4.6 if name in ("core", "cli") else 1.72

    def _arrow(self, axes: Axes, edge: Edge) -> None:
        from matplotlib.patches import FancyArrowPatch

        tail, head, bend = self._ends(edge)
        loading = edge.when == LOADING
        axes.add_patch(
            FancyArrowPatch(
                tail,
                head,
                arrowstyle="-|>",
                connectionstyle=f"arc3,rad={bend}",
                mutation_scale=9 + edge.modules**0.5,
                linewidth=0.7 + 0.45 * edge.modules**0.5,
                linestyle="-" if loading else (0, (4, 2)),
                color=INK if loading else WHEN_USED,
                alpha=0.75,
                shrinkA=0,
                shrinkB=0,
                zorder=2,
            )
        )
        if edge.modules > 1 and not bend:
            x, y = ((t + h) / 2 for t, h in zip(tail, head, strict=True))
            paper = {"boxstyle": "round,pad=0.12", "facecolor": PAPER, "edgecolor": "none"}
            text: dict[str, Any] = {"ha": "center", "va": "center", "color": INK, "bbox": paper}
            axes.text(x, y, str(edge.modules), fontsize=7.5, zorder=2.5, **text)

    def _ends(self, edge: Edge) -> tuple[Point, Point, float]:
        """Where an arrow leaves and meets the boxes, and how much it bends."""
        (x0, y0), (x1, y1) = self.where[edge.importer], self.where[edge.imported]
        if y0 != y1:
            # Spread along the boxes in the order of the other ends.
            lean = max(-1.0, min(1.0, (x1 - x0) / 9))
            reach = 0.45 * self._width(edge.imported)
            return (x0 + 0.7 * lean, y0 - HEIGHT / 2), (x1 - reach * lean, y1 + HEIGHT / 2), 0.0
        between = sum(y == y0 and x1 < x < x0 for x, y in self.where.values())
        if between:
            # Over them.
            start, end = (x0 - 0.3, y0 + HEIGHT / 2), (x1 + 0.15 * between, y1 + HEIGHT / 2)
            return start, end, 0.3 - 0.06 * between
        side = math.copysign(self._width(edge.importer) / 2, x1 - x0)
        return (x0 + side, y0), (x1 - side, y1), 0.0

    def _legend(self, axes: Axes) -> None:
        from matplotlib.lines import Line2D

        handles = [
            Line2D([], [], color=INK, label="imports, while loading"),
            Line2D([], [], color=WHEN_USED, linestyle=(0, (4, 2)), label="imports, when used"),
            Line2D([], [], color="none", label="number: in so many modules"),
            Line2D([], [], color="none", label="grey: imports from elsewhere"),
            Line2D([], [], color="none", label="left out: what others imply"),
        ]
        axes.legend(
            handles=handles,
            loc="lower left",
            bbox_to_anchor=(0.005, 0.01),
            fontsize=9,
            frameon=False,
        )


def _rounded(
    axes: Axes, corner: Point, size: tuple[float, float], colour: str, *, outlined: bool = False
) -> None:
    from matplotlib.patches import FancyBboxPatch

    axes.add_patch(
        FancyBboxPatch(
            corner,
            *size,
            boxstyle="round,pad=0,rounding_size=0.12",
            facecolor=colour,
            edgecolor=INK if outlined else "none",
            alpha=1.0 if outlined else 0.45,
            linewidth=1.2,
            zorder=3 if outlined else 0,
        )
    )


def _wrapped(words: list[str], columns: int = 27) -> str:
    lines = [""]
    for word in words:
        longer = f"{lines[-1]}, {word}" if lines[-1] else word
        if len(longer) > columns:
            lines.append(word)
        else:
            lines[-1] = longer
    return ",\n".join(lines)


def main() -> int:
    """Write, or with --check compare; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="compare only; exit 1 if old")
    found = edges()
    if not parser.parse_args().check:
        DATA.write_text(encoded(found))
        Picture(found).save(PICTURE)
        return 0
    news = changes([Edge(*row) for row in json.loads(DATA.read_text())], found)
    for line in news:
        print(line)
    if news:
        print(f"{DATA.relative_to(ROOT)} is old. Run: python docs/import_graph.py")
    return int(bool(news))


if __name__ == "__main__":
    sys.exit(main())
