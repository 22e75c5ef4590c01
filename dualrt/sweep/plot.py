"""Plot: a sweep's rows as one picture.

Owns which figure is drawn against which key: the first swept key along the axis, a line for each
combination of the others, and where seeds were swept their mean, with the range of what they gave.
Must not know how rows came about.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dualrt.core.errors import UsageError
from dualrt.observe.canvas import SERIES, picture
from dualrt.sweep.axes import Axis
from dualrt.sweep.rows import SEED, Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

USUAL = ("error", "loss", "hours_total")
"""What is drawn if nothing is said: the first of these that any run has."""

MARKS = "osD^vPX"
"""Beside colours, as there may be more lines than those, and not all eyes tell them apart."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line: what all its runs have in common, and what their figure is at each value."""

    label: str
    points: tuple[tuple[str, tuple[float, ...]], ...]
    """(the axis' value as it was written, the figures of its runs), in the order of the axis."""


def lines_of(rows: Sequence[Row], axes: Sequence[Axis], figure: str) -> list[Line]:
    """The lines of a plot of `figure`; runs that failed, or have no such figure, are left out."""
    along = axes[0]
    found: dict[str, dict[str, list[float]]] = {}
    for row in rows:
        others = [
            f"{key}={text}" for key, text in row.combination.items() if key not in {along.key, SEED}
        ]
        of_line = found.setdefault(", ".join(others), {})
        value = None if row.figures is None else getattr(row.figures, figure)
        if value is not None:
            of_line.setdefault(row.combination[along.key], []).append(value)
    return [
        Line(label, tuple((text, tuple(at[text])) for text in along.texts if text in at))
        for label, at in found.items()
    ]


def draw(
    file: Path, rows: Sequence[Row], axes: Sequence[Axis], figure: str | None, title: str
) -> None:
    """Draw `figure`, or the usual one; the file's suffix says PNG, SVG or PDF.

    Raises UsageError if no run has it.
    """
    name = figure or usual(rows)
    lines = lines_of(rows, axes, name)
    if not any(line.points for line in lines):
        raise UsageError(f"--y {name}: no run has that figure. Name another with --y")

    def put(on: Figure) -> None:
        _draw_lines(on.add_subplot(), lines, axes[0], name)

    seeds = next((len(axis.texts) for axis in axes[1:] if axis.key == SEED), 1)
    subtitle = f"{name} over {axes[0].key}"
    if seeds > 1:
        subtitle += f"  ·  mean of {seeds} seeds, with the range of what they gave"
    picture(file, (9, 5.5), title, subtitle, put)


def usual(rows: Sequence[Row]) -> str:
    """The figure that is drawn if nothing is said."""
    figures = [row.figures for row in rows if row.figures is not None]
    known = (name for name in USUAL if any(getattr(one, name) is not None for one in figures))
    return next(known, "elapsed_s")


def _draw_lines(panel: Axes, lines: Sequence[Line], along: Axis, name: str) -> None:
    places = _places(panel, along)
    for number, line in enumerate(lines):
        xs = [places[text] for text, _ in line.points]
        means = [math.fsum(values) / len(values) for _, values in line.points]
        below = [mean - min(values) for mean, (_, values) in zip(means, line.points, strict=True)]
        above = [max(values) - mean for mean, (_, values) in zip(means, line.points, strict=True)]
        panel.errorbar(
            xs,
            means,
            yerr=[[max(0.0, one) for one in side] for side in (below, above)],
            label=line.label,
            color=SERIES[number % len(SERIES)],
            marker=MARKS[number % len(MARKS)],
            capsize=3,
        )
    panel.set_xlabel(along.key)
    panel.set_ylabel(name)
    panel.grid(axis="y")
    if any(line.label for line in lines):
        panel.legend(loc="best")


def _places(panel: Axes, along: Axis) -> dict[str, float]:
    """Where each value is along the axis: numbers where they belong, names side by side."""
    values = [
        float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
        for value in along.values
    ]
    if not all(math.isfinite(value) for value in values):
        panel.set_xticks(range(len(along.texts)), along.texts)
        return {text: float(place) for place, text in enumerate(along.texts)}
    if min(values) > 0 and max(values) >= 8 * min(values):
        panel.set_xscale("log", base=2)
    panel.set_xticks(values, along.texts)
    panel.minorticks_off()
    return dict(zip(along.texts, values, strict=True))
