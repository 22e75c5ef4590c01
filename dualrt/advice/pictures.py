"""Pictures of a comparison: disagreement against rounds and against seconds.

Owns what the picture shows; the look is `dualrt.observe.canvas`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dualrt.advice.compare import Course
from dualrt.advice.setting import Setting
from dualrt.observe import units
from dualrt.observe.canvas import FAINT, SERIES, picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FLOOR = 1e-10
"""Errors below are rounding."""

ENOUGH = 1e-3

STROKES = ("-", "-.", ":")
"""Of the lines, when colours begin anew."""


def compare_picture(path: Path, courses: Sequence[Course], setting: Setting) -> None:
    """Two panels; the dashed line is what the second eigenvalue predicts."""

    def draw(figure: Figure) -> None:
        by_round, by_second = figure.subplots(1, 2, sharey=True)
        ends = [len(_until_exact(course.errors)) - 1 for course in courses]
        shown = max(12, *_shown(ends, [c.consensus_rounds for c in courses]))
        shown_s = max(_shown([c.times_s[-1] for c in courses], [c.consensus_s for c in courses]))
        for number, course in enumerate(courses):
            turn, place = divmod(number, len(SERIES))
            colour, stroke = SERIES[place], STROKES[turn % len(STROKES)]
            errors = _until_exact(course.errors)
            rounds = range(len(errors))
            label = f"{course.spec}  ({course.second_eigenvalue:.4f}){_short(errors, shown)}"
            by_round.plot(rounds, errors, color=colour, linestyle=stroke, label=label)
            by_second.plot(course.times_s[: len(errors)], errors, color=colour, linestyle=stroke)
            if course.second_eigenvalue and len(errors) > 2:
                last = len(errors) - 1
                predicted = [
                    errors[-1] * course.second_eigenvalue ** (round - last) for round in rounds
                ]
                by_round.plot(rounds, predicted, color=colour, linestyle=(0, (2, 2)), alpha=0.6)
        for axes in (by_round, by_second):
            axes.set_yscale("log")
            axes.set_ylim(FLOOR, 3.0)
            axes.grid(True)
            axes.axhline(ENOUGH, color=FAINT, linewidth=0.8)
        _frame(by_round, "By rounds", "rounds", shown)
        _frame(by_second, "By seconds on the cluster", "seconds, with a gradient a round", shown_s)
        by_round.set_ylabel("disagreement, of the first")
        figure.legend(
            *by_round.get_legend_handles_labels(),
            loc="outside right center",
            title="second eigenvalue;\ndashed: its prediction",
        )

    subtitle = (
        f"synchronous averaging in the simulator on {setting.name}  ·  "
        f"{units.size(setting.model_bytes)} a message  ·  "
        f"gradient {units.seconds(setting.gradient_s)}"
    )
    picture(path, (13, 5.5), "How fast learners agree", subtitle, draw)


def _until_exact(errors: Sequence[float]) -> list[float]:
    """Down to the first that is only rounding, which is drawn at the floor."""
    ended = next((at for at, error in enumerate(errors) if error <= FLOOR), len(errors))
    return [max(error, FLOOR) for error in errors[: ended + 1]]


def _shown(ends: Sequence[float], enough: Sequence[float | None]) -> list[float]:
    """How long each is shown, so that the faster ones are told apart beside the slowest.

    In rounds or in seconds: `ends` is how long each was run, `enough` when it agrees.
    """
    longest = 12 * min((each for each in enough if each), default=math.inf)
    return [min(end, longest) for end in ends]


def _short(errors: Sequence[float], shown: float) -> str:
    """What the legend says of learners who do not agree as far as the picture goes."""
    seen = errors[: math.floor(shown) + 1]
    if min(seen) <= ENOUGH:
        return ""
    return f"\n   not to 1e-3 in the {len(seen) - 1} rounds shown"


def _frame(axes: Axes, title: str, label: str, right: float) -> None:
    axes.set_title(title)
    axes.set_xlabel(label)
    axes.set_xlim(0, right)
