"""Gantt: what the strands of some learners did, drawn against time.

Owns the rows and bars of that drawing. Must not know which picture it is part of.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from dualrt.core.records import Span
from dualrt.observe.canvas import COLOURS, FAINT
from dualrt.observe.kinds import GRADIENT, Activity, activity
from dualrt.observe.lanes import Lane, in_lanes
from dualrt.observe.panels import time_unit

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_GAP = 0.45
"""Between learners, in rows."""


class Row(NamedTuple):
    """A lane, where it is drawn (downwards, in rows), and its spans by what they count as."""

    lane: Lane
    at: float
    spans: dict[Activity, list[Span]]


def rows_of(
    spans: Iterable[Span], learners: Iterable[int], window_s: tuple[float, float]
) -> list[Row]:
    """The rows that show these learners between the two times; what only listens is left out."""
    begin_s, end_s = window_s
    chosen = set(learners)
    of_chosen = [span for span in spans if span.learner in chosen]
    training = {(span.learner, span.strand) for span in of_chosen if span.kind == GRADIENT}
    seen = (span for span in of_chosen if span.start_s < end_s and span.end_s > begin_s)
    rows: list[Row] = []
    for lane, in_lane in in_lanes(seen).items():
        trains = (lane.learner, lane.strand) in training
        by_activity: dict[Activity, list[Span]] = {}
        for span in in_lane:
            by_activity.setdefault(activity(span.kind, trains=trains), []).append(span)
        if by_activity.keys() != {Activity.LISTENING}:
            rows.append(Row(lane, _below(rows, lane), by_activity))
    return rows


def draw_gantt(axes: Axes, rows: Sequence[Row], window_s: tuple[float, float]) -> None:
    """Draw the rows, with time in a unit that suits the window."""
    begin_s, end_s = window_s
    scale, unit = time_unit(end_s - begin_s)
    for row in rows:
        for doing, spans in row.spans.items():
            # Listening is drawn thin: it is there, and nothing happens.
            height = 0.22 if doing is Activity.LISTENING else 0.8
            axes.broken_barh(
                [(span.start_s / scale, (span.end_s - span.start_s) / scale) for span in spans],
                (row.at - height / 2, height),
                facecolors=COLOURS[doing],
                edgecolor="white",
                linewidth=0.4,
            )
        _number_steps(axes, row, window_s, scale)
    _label_rows(axes, rows)
    axes.set_xlim(begin_s / scale, end_s / scale)
    axes.set_xlabel(f"time [{unit}]")
    axes.grid(axis="x")
    _legend(axes, rows)


def _below(rows: Sequence[Row], lane: Lane) -> float:
    if not rows:
        return 0.0
    last = rows[-1]
    return last.at + (1.0 if last.lane.learner == lane.learner else 1.0 + _GAP)


def _number_steps(axes: Axes, row: Row, window_s: tuple[float, float], scale: float) -> None:
    begin_s, end_s = window_s
    for span in row.spans.get(Activity.GRADIENT, ()):
        left_s, right_s = max(span.start_s, begin_s), min(span.end_s, end_s)
        if right_s - left_s > 0.02 * (end_s - begin_s):
            axes.text(
                (left_s + right_s) / 2 / scale,
                row.at,
                str(span.step),
                color="white",
                size=7.5,
                ha="center",
                va="center_baseline",
            )


def _label_rows(axes: Axes, rows: Sequence[Row]) -> None:
    """The strand at every row, and the learner at its first."""
    axes.set_ylim((rows[-1].at if rows else 0.0) + 0.7, -0.7)
    labels = [row.lane.label for row in rows]
    axes.set_yticks([row.at for row in rows], labels, size=8, color=FAINT)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    first = {row.lane.learner: row.at for row in reversed(rows)}
    for learner, at in first.items():
        axes.annotate(
            f"learner {learner}",
            (0, at),
            xycoords=("axes fraction", "data"),
            xytext=(-78, 0),
            textcoords="offset points",
            ha="right",
            va="center",
            weight="bold",
            size=9,
        )


def _legend(axes: Axes, rows: Sequence[Row]) -> None:
    seen = {doing for row in rows for doing in row.spans}
    keys = [
        axes.broken_barh([], (0, 0), facecolors=COLOURS[doing], label=doing.value)
        for doing in Activity
        if doing in seen
    ]
    axes.legend(
        handles=keys,
        loc="lower right",
        bbox_to_anchor=(1.0, 1.0),
        ncols=max(1, len(keys)),
        handlelength=1.0,
    )
