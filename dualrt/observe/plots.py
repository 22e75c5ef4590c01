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
from dualrt.observe.canvas import picture
from dualrt.observe.gantt import draw_gantt, rows_of
from dualrt.observe.panels import Run
from dualrt.observe.summary import Summary
from dualrt.observe.tally import Tally

if TYPE_CHECKING:
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
        panels.device_time(device, (summary, tally))
        exchange = figure.add_subplot(grid[2, width], sharex=device)
        panels.exchange_time(exchange, (summary, tally))
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

    subtitle = "  ·  ".join(panels.labels(runs)) if len(runs) <= 3 else f"{len(runs)} runs"
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
    rows = rows_of(spans, learners, window)

    def draw(figure: Figure) -> None:
        draw_gantt(figure.add_subplot(), rows, window)

    height_in = min(24.0, max(3.0, 1.9 + 0.24 * (rows[-1].at if rows else 0.0)))
    subtitle = f"{units.seconds(window[0])} to {units.seconds(window[1])}"
    picture(path, (14, height_in), title, subtitle, draw)


def _facts(summary: Summary) -> str:
    """The line below a run's title."""
    facts = [
        f"{summary.algorithm}, {summary.mode}",
        f"{units.counted(summary.learners, 'learner')} × batch {units.count(summary.batch)}",
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
