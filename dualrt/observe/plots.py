"""Plots: the pictures of a run that people look at first.

Owns which panels make a picture. All of them are made from records alone, so a simulated and a
real run look alike; equal records give equal files.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dualrt.core.records import Span
from dualrt.observe import panels, units
from dualrt.observe.canvas import COLOURS, FAINT, picture
from dualrt.observe.kinds import Activity, activity
from dualrt.observe.lanes import Lane, in_lanes
from dualrt.observe.panels import Run
from dualrt.observe.summary import Summary
from dualrt.observe.tally import Tally

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def run_picture(
    path: Path | str, summary: Summary, tally: Tally, *, title: str | None = None
) -> None:
    """One run on one page: loss (or throughput), staleness, where time goes, busiest links.

    `title` is the summary's if not given; the suffix of `path` says PNG, SVG or PDF.
    """
    run = [(summary, tally)]

    def draw(figure: Figure) -> None:
        grid = figure.add_gridspec(3, 3, height_ratios=(1.45, 1, 1))
        course = figure.add_subplot(grid[0, :2])
        if panels.has_loss(tally):
            panels.loss_over_time(course, run)
            course.legend(loc="upper right")
        else:
            panels.throughput(course, run)
        panels.staleness(figure.add_subplot(grid[0, 2]), run)
        links = summary.busiest_links
        width = slice(0, 2) if links else slice(0, 3)
        device = figure.add_subplot(grid[1, width])
        panels.device_time(device, tally)
        exchange = figure.add_subplot(grid[2, width], sharex=device)
        panels.exchange_time(exchange, tally)
        device.tick_params(labelbottom=False)
        exchange.set_xlabel("learner")
        if links:
            panels.busiest_links(figure.add_subplot(grid[1:, 2]), links)

    picture(path, (13, 9), title or summary.title, _facts(summary), draw)


def comparison_picture(path: Path | str, runs: Sequence[Run], *, title: str) -> None:
    """Runs laid over each other, such as a simulated one and the real one it predicts.

    Loss against time and against progress where there is any (else throughput), staleness, and
    the time of an iteration. `runs` are (summary, tally) pairs, at least one.
    """

    def draw(figure: Figure) -> None:
        if any(panels.has_loss(tally) for _, tally in runs):
            grid = figure.add_gridspec(2, 2, height_ratios=(1.3, 1))
            first = figure.add_subplot(grid[0, 0])
            panels.loss_over_time(first, runs)
            panels.loss_over_epochs(figure.add_subplot(grid[0, 1], sharey=first), runs)
        else:
            grid = figure.add_gridspec(2, 2)
            first = figure.add_subplot(grid[0, :])
            panels.throughput(first, runs)
        first.legend(loc="best")
        panels.staleness(figure.add_subplot(grid[1, 0]), runs)
        panels.iteration_time(figure.add_subplot(grid[1, 1]), runs)

    subtitle = "  ·  ".join(f"{s.title}: {s.algorithm}, {s.mode}" for s, _ in runs)
    picture(path, (13, 8), title, subtitle, draw)


def timeline(
    path: Path | str,
    spans: Iterable[Span],
    learners: Sequence[int],
    window: tuple[float, float],
    *,
    title: str = "What the learners did, and when",
) -> None:
    """A Gantt picture of what these learners' strands did in a window of seconds.

    A strand that had several effects under way at once takes several rows. Gradients carry their
    step's number where it fits.
    """
    begin_s, end_s = window
    chosen = set(learners)
    lanes = in_lanes(
        span
        for span in spans
        if span.learner in chosen and span.start_s < end_s and span.end_s > begin_s
    )
    rows = _rows(list(lanes))

    def draw(figure: Figure) -> None:
        scale, unit = panels.time_unit(end_s - begin_s)
        axes = figure.add_subplot()
        for lane, of_lane in lanes.items():
            _draw_lane(axes, rows[lane], of_lane, window, scale)
        _label_lanes(axes, rows)
        axes.set_xlim(begin_s / scale, end_s / scale)
        axes.set_xlabel(f"time [{unit}]")
        axes.grid(axis="x")
        _timeline_legend(axes, lanes)

    height_in = min(24.0, max(3.0, 1.7 + 0.24 * (1 + max(rows.values(), default=0.0))))
    subtitle = f"{units.seconds(begin_s)} to {units.seconds(end_s)}"
    picture(path, (14, height_in), title, subtitle, draw)


def _facts(summary: Summary) -> str:
    """The line below a run's title."""
    facts = [
        f"{summary.algorithm}, {summary.mode}",
        f"{units.count(summary.learners)} learners × batch {units.count(summary.batch)}",
        f"{units.seconds(summary.seconds_per_iteration)} an iteration",
        f"{units.hours(summary.hours_per_epoch)} an epoch",
    ]
    if summary.speedup_over_one is not None:
        facts.append(f"{units.factor(summary.speedup_over_one)} one device")
    if summary.wait_fraction is not None:
        facts.append(f"devices wait {units.percent(summary.wait_fraction)}")
    if summary.accuracy is not None:
        facts.append(f"accuracy {units.percent(summary.accuracy)}")
    return "  ·  ".join(facts)


def _rows(lanes: Sequence[Lane]) -> dict[Lane, float]:
    """Vertical positions: a row a lane, and a gap between learners."""
    rows: dict[Lane, float] = {}
    at, learner = 0.0, lanes[0].learner if lanes else 0
    for lane in lanes:
        if lane.learner != learner:
            at, learner = at + 0.45, lane.learner
        rows[lane] = at
        at += 1.0
    return rows


def _draw_lane(
    axes: Axes, row: float, spans: Sequence[Span], window: tuple[float, float], scale: float
) -> None:
    begin_s, end_s = window
    for doing in Activity:
        of_one = [span for span in spans if activity(span.kind) is doing]
        # Waiting is drawn thin: it is there, and nothing happens.
        thickness = 0.22 if doing is Activity.WAITING else 0.8
        axes.broken_barh(
            [(span.start_s / scale, (span.end_s - span.start_s) / scale) for span in of_one],
            (row - thickness / 2, thickness),
            facecolors=COLOURS[doing],
            edgecolor="white",
            linewidth=0.4,
        )
    for span in spans:
        left, right = max(span.start_s, begin_s), min(span.end_s, end_s)
        if activity(span.kind) is Activity.GRADIENT and right - left > 0.02 * (end_s - begin_s):
            axes.text(
                (left + right) / 2 / scale,
                row,
                str(span.step),
                color="white",
                size=7.5,
                ha="center",
                va="center_baseline",
            )


def _label_lanes(axes: Axes, rows: dict[Lane, float]) -> None:
    """The learner's number at its first row, and the name of the strand at every row."""
    axes.set_ylim(max(rows.values(), default=0.0) + 0.7, -0.7)
    axes.set_yticks(list(rows.values()), [lane.label for lane in rows], size=8, color=FAINT)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    labelled: set[int] = set()
    for lane, row in rows.items():
        if lane.learner in labelled:
            continue
        labelled.add(lane.learner)
        axes.annotate(
            f"learner {lane.learner}",
            (0, row),
            xycoords=("axes fraction", "data"),
            xytext=(-78, 0),
            textcoords="offset points",
            ha="right",
            va="center",
            weight="bold",
            size=9,
        )


def _timeline_legend(axes: Axes, lanes: dict[Lane, list[Span]]) -> None:
    seen = {activity(span.kind) for of_lane in lanes.values() for span in of_lane}
    keys = [
        axes.broken_barh([], (0, 0), facecolors=COLOURS[one], label=one.value)
        for one in Activity
        if one in seen
    ]
    if keys:
        axes.legend(
            handles=keys,
            loc="lower right",
            bbox_to_anchor=(1.0, 1.0),
            ncols=len(keys),
            handlelength=1.0,
        )
