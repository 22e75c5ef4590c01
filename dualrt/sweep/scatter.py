"""Scatter: a sweep's combinations, one figure against another, with those that no other beats.

Owns that picture. Must not know how rows came about, nor what better means (`choice`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dualrt.core.errors import UsageError
from dualrt.observe.canvas import FAINT, SERIES, picture
from dualrt.sweep.axes import Combination
from dualrt.sweep.choice import Bound, candidates, frontier, usual
from dualrt.sweep.plot import MARKS
from dualrt.sweep.rows import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True, slots=True)
class Point:
    """A combination where its figures put it: means, if seeds were swept."""

    group: str
    """The value of the first swept key: points of a group have a colour."""
    label: str
    """The values of all others."""
    at: tuple[float, float]


def points_of(rows: Sequence[Row], x: str, y: str, across: Sequence[str] = ()) -> list[Point]:
    """All combinations that have both figures; keys in `across` do not count, nor do seeds."""
    found = []
    for one in candidates(rows, across):
        right, up = one.mean(x), one.mean(y)
        if right is not None and up is not None:
            group, label = _named(one.combination)
            found.append(Point(group, label, (right, up)))
    return found


def draw(
    file: Path,
    rows: Sequence[Row],
    x: str,
    y: str | None,
    bounds: Sequence[Bound],
    title: str,
    across: Sequence[str] = (),
) -> None:
    """Draw `y`, or what decides by itself, over `x`; the file's suffix says PNG, SVG or PDF.

    Raises UsageError if no run has both, or they are the same.
    """
    y = y or usual(candidates(rows))
    if x == y:
        raise UsageError(f"--x {x}: that is what is drawn over it. Name another figure with --y")
    points = points_of(rows, x, y, across)
    if not points:
        raise UsageError(f"--x {x} --y {y}: no run has both figures. Name others")

    def put(on: Figure) -> None:
        panel = on.add_subplot()
        _draw_points(panel, points, x, y)
        _draw_bounds(panel, bounds, x, y)
        panel.set_xlabel(x)
        panel.set_ylabel(y)
        panel.grid()
        panel.margins(0.08)
        panel.legend(loc="best")

    picture(file, (9, 5.5), title, f"{y} over {x}  ·  joined: nothing else is as good in both", put)


def _named(combination: Combination) -> tuple[str, str]:
    """Group and label; without a swept key but the seed there is neither."""
    pairs = list(combination.items())
    group = f"{pairs[0][0]}={pairs[0][1]}" if pairs else "all runs"
    return group, ", ".join(text for _, text in pairs[1:])


def _draw_points(panel: Axes, points: Sequence[Point], x: str, y: str) -> None:
    best = [points[place] for place in frontier([point.at for point in points], x, y)]
    panel.plot(*zip(*(point.at for point in best), strict=True), color=FAINT, linewidth=1, zorder=1)
    for number, group in enumerate(dict.fromkeys(point.group for point in points)):
        panel.scatter(
            *zip(*(point.at for point in points if point.group == group), strict=True),
            label=group,
            color=SERIES[number % len(SERIES)],
            marker=MARKS[number % len(MARKS)],
            zorder=2,
        )
    # Those alone: labels of all would lie on top of one another. Equal points have one.
    at = {point.at: [one.label for one in best if one.at == point.at] for point in best}
    for place, labels in at.items():
        shown = " = ".join(dict.fromkeys(labels))
        panel.annotate(shown, place, xytext=(5, 5), textcoords="offset points")


def _draw_bounds(panel: Axes, bounds: Sequence[Bound], x: str, y: str) -> None:
    for bound in bounds:
        if bound.figure in {x, y}:
            line = panel.axvline if bound.figure == x else panel.axhline
            line(bound.value, color=FAINT, linestyle="--", linewidth=1, label=str(bound))
