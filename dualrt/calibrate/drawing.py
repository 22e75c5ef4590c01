"""Drawing: a calibration as one picture of how far each simulated figure is off.

Owns which marks say what. Must not know how the figures came about.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dualrt.calibrate.result import Calibration, Residual
from dualrt.observe import units
from dualrt.observe.canvas import BLUE, FAINT, GREY, VERMILLION, picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BAND = 0.1
"""The shaded share to either side of no error, for the eye."""


def draw(path: Path, found: Calibration) -> None:
    """Simulated over measured, a row a point; predictions below what was fitted to, and apart."""

    def rows(figure: Figure) -> None:
        axes = figure.add_subplot()
        axes.axvspan(1 / (1 + BAND), 1 + BAND, color=GREY, alpha=0.5, linewidth=0)
        axes.axvline(1, color=FAINT, linewidth=1)
        _rows(axes, 0, found.residuals, "o", BLUE, "calibration set")
        _rows(axes, len(found.residuals), found.predictions, "D", VERMILLION, "predicted")
        every = [*found.residuals, *found.predictions]
        axes.set_yticks(range(len(every)), [residual.name for residual in every])
        axes.invert_yaxis()
        axes.set_xscale("log", base=2)
        furthest = max(1.25, *(max(1 + one.error, 1 / (1 + one.error)) for one in every)) * 1.1
        axes.set_xlim(1 / furthest, furthest)
        ticks = [
            tick
            for tick in (0.25, 0.5, 0.7, 0.8, 0.9, 1, 1.1, 1.25, 1.5, 2, 4)
            if 1 / furthest < tick < furthest
        ]
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.minorticks_off()
        axes.set_xlabel("simulated ÷ measured time (shaded: within 10 %)")
        axes.legend(loc="best")

    freedom = f", {found.degrees_of_freedom} degrees of freedom" if found.estimates else ""
    subtitle = f"rms error {units.percent(found.rms_error)}{freedom}"
    count = len(found.residuals) + len(found.predictions)
    picture(path, (9, 1.9 + 0.36 * count), found.title, subtitle, rows)


def _rows(
    axes: Axes, first: int, residuals: Sequence[Residual], marker: str, colour: str, label: str
) -> None:
    if not residuals:
        return
    places = [first + place for place in range(len(residuals))]
    ratios = [1 + residual.error for residual in residuals]
    axes.hlines(places, 1, ratios, color=colour, linewidth=2)
    axes.plot(ratios, places, marker, color=colour, label=label)
