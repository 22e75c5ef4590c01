"""Panels: one question about a run, answered on one pair of axes.

Owns how each figure is drawn. Must not know which picture a panel is part of. All functions draw
on the `axes` they are given and return nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from dualrt.observe import units
from dualrt.observe.canvas import BLUE, COLOURS, GREY, SERIES, VERMILLION
from dualrt.observe.distribution import Distribution
from dualrt.observe.kinds import BESIDE, DEVICE, Activity
from dualrt.observe.summary import Summary
from dualrt.observe.tally import Tally

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Run: TypeAlias = tuple[Summary, Tally]
Floats: TypeAlias = npt.NDArray[np.float64]

_THROUGHPUT_INTERVALS = 60
_MOST_STALENESS_BARS = 40
_MOST_LINKS = 10
_LONGEST_NAME = 44


def loss_over_time(axes: Axes, runs: Sequence[Run]) -> None:
    """Training loss of each run against its own time, and its held-out loss at the end."""
    scale, unit = time_unit(max(summary.elapsed_s for summary, _ in runs))
    for number, (label, (_, tally)) in enumerate(zip(labels(runs), runs, strict=True)):
        points = tally.curve.points()
        times = np.array([point.time_s for point in points]) / scale
        _loss_curve(axes, times, _losses(tally), number, label)
    _held_out(axes, runs)
    axes.set(title="Loss", xlabel=f"{_clock(runs)} [{unit}]", ylabel="training loss")
    axes.set_xlim(left=0)
    axes.grid(axis="y")


def loss_over_epochs(axes: Axes, runs: Sequence[Run]) -> None:
    """Training loss of each run against the passes over the pool."""
    for number, (label, (_, tally)) in enumerate(zip(labels(runs), runs, strict=True)):
        epochs = np.array([point.epoch for point in tally.curve.points()])
        # Each learner knows of its own epoch: in order of time, the line would run back and forth.
        order = np.argsort(epochs, kind="stable")
        _loss_curve(axes, epochs[order], _losses(tally)[order], number, label)
    _held_out(axes, runs)
    axes.set(title="Loss by progress", xlabel="epochs", ylabel="training loss")
    axes.set_xlim(left=0)
    axes.grid(axis="y")


def throughput(axes: Axes, runs: Sequence[Run]) -> None:
    """Samples a second, over the run: shows faults and slow starts."""
    scale, unit = time_unit(max(summary.elapsed_s for summary, _ in runs))
    for number, (label, (summary, tally)) in enumerate(zip(labels(runs), runs, strict=True)):
        points = tally.curve.points()
        # Several steps of a learner an interval, or the picture would show the beat of both.
        steps = tally.steps // (4 * tally.learners)
        intervals = min(_THROUGHPUT_INTERVALS, max(8, steps))
        edges = np.linspace(0, summary.elapsed_s or 1.0, intervals + 1)
        samples, _ = np.histogram(
            [point.time_s for point in points],
            bins=edges,
            weights=[point.samples for point in points],
        )
        axes.stairs(
            samples / np.diff(edges),
            edges / scale,
            color=SERIES[number % len(SERIES)],
            linewidth=1.6,
            label=label,
        )
    axes.set(
        title="Throughput", xlabel=f"{_clock(runs)} [{unit}]", ylabel="samples applied per second"
    )
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.6g}")
    axes.grid(axis="y")


def staleness(axes: Axes, runs: Sequence[Run]) -> None:
    """How many updates had which staleness; of several runs, bars stand side by side."""
    edges = _staleness_edges([tally.staleness for _, tally in runs])
    width = 0.86 / len(runs)
    for number, (label, (_, tally)) in enumerate(zip(labels(runs), runs, strict=True)):
        counts = tally.staleness.counts()
        held, _ = np.histogram(
            [value for value, _ in counts], bins=edges, weights=[count for _, count in counts]
        )
        share = 100 * held / max(1, tally.updates)
        steps = np.diff(edges)
        # Edges stand half a step below the least value of their bin.
        left = edges[:-1] + steps * (0.07 + number * width)
        axes.bar(
            left,
            share,
            width * steps,
            align="edge",
            color=SERIES[number % len(SERIES)],
            label=label,
        )
    axes.set(title="Staleness", xlabel="versions missed", ylabel="updates [%]")
    axes.locator_params(axis="x", integer=True)
    axes.set_xlim(edges[0], edges[-1])
    axes.grid(axis="y")
    if len(runs) == 1:
        figures = runs[0][0].staleness
        facts = (
            f"mean {units.significant(figures.mean)}, median {units.count(figures.p50)}, "
            f"99 % ≤ {units.count(figures.p99)}, most {units.count(figures.max)}"
        )
        axes.set_title(facts, loc="right", size=8.5, weight="normal")


def device_time(axes: Axes, run: Run) -> None:
    """What each learner's device did, as shares of the run; what is left, it waited."""
    _, tally = run
    bottom = _stacked(axes, run, DEVICE)
    idle = np.maximum(0.0, 100 - bottom)
    axes.bar(
        np.arange(tally.learners), idle, _bar_width(tally), bottom, color=GREY, label="waiting"
    )
    axes.set(title="Where the devices' time goes", ylabel="share of the run [%]", ylim=(0, 100))
    _learner_axis(axes, tally)


def exchange_time(axes: Axes, run: Run) -> None:
    """What went on beside the device; exchanges that overlap add up, beyond 100 % if need be.

    Listening is left out: a strand that has nothing to answer costs nothing.
    """
    _, tally = run
    bottom = _stacked(axes, run, BESIDE)
    axes.set(
        title="Beside them, at the same time (exchanges that overlap add up)",
        ylabel="share of the run [%]",
    )
    axes.set_ylim(0, max(100.0, 1.04 * float(np.max(bottom))))
    _learner_axis(axes, tally)


def busiest_links(axes: Axes, links: Sequence[tuple[str, float]]) -> None:
    """Mean utilisation of the links that were used most."""
    shown = links[:_MOST_LINKS]
    rows = np.arange(len(shown))
    used = np.array([100 * utilisation for _, utilisation in shown])
    axes.barh(rows, used, 0.4, color=[VERMILLION if share >= 90 else BLUE for share in used])
    for row, (name, utilisation) in enumerate(shown):
        _above_bar(axes, row, f"{_shortened(name)}  {units.percent(utilisation)}")
    axes.set(title="Busiest links", xlabel="mean utilisation [%]", xlim=(0, 100))
    _bar_rows(axes, max(5, len(shown)))


def iteration_time(axes: Axes, runs: Sequence[Run]) -> None:
    """Seconds in which every learner does one mini-batch, on average."""
    rows = np.arange(len(runs))
    seconds = np.array([summary.seconds_per_iteration or 0.0 for summary, _ in runs])
    longest_s = float(np.max(seconds)) or 1.0
    scale, unit = time_unit(longest_s)
    colours = [SERIES[number % len(SERIES)] for number in range(len(runs))]
    axes.barh(rows, seconds / scale, 0.4, color=colours)
    for row, (label, (summary, _)) in enumerate(zip(labels(runs), runs, strict=True)):
        figure = units.seconds(summary.seconds_per_iteration)
        _above_bar(axes, row, f"{_shortened(label)}  {figure}")
    axes.set(title="An iteration", xlabel=f"time [{unit}]", xlim=(0, 1.05 * longest_s / scale))
    _bar_rows(axes, max(3, len(runs)))


def labels(runs: Sequence[Run]) -> list[str]:
    """What tells the runs apart: algorithm and mode if they do, else titles too, else numbers."""
    short = [f"{summary.algorithm}, {summary.mode}" for summary, _ in runs]
    if len(set(short)) == len(runs):
        return short
    full = [f"{summary.title}: {label}" for label, (summary, _) in zip(short, runs, strict=True)]
    if len(set(full)) == len(runs):
        return full
    return [f"{number}. {label}" for number, label in enumerate(short, start=1)]


def has_loss(tally: Tally) -> bool:
    """Whether a run computed any loss that can be drawn."""
    return bool(np.isfinite(_losses(tally)).any())


def time_unit(longest_s: float) -> tuple[float, str]:
    """(seconds, name) of the unit in which an axis up to `longest_s` reads well."""
    for seconds, name in ((3600.0, "h"), (60.0, "min"), (1.0, "s"), (1e-3, "ms")):
        if longest_s >= 2 * seconds:
            return seconds, name
    return 1e-6, "µs"


def _losses(tally: Tally) -> Floats:
    """NaN where there is none, or where it is not finite."""
    losses = np.array(
        [np.nan if point.loss is None else point.loss for point in tally.curve.points()]
    )
    return np.where(np.isfinite(losses), losses, np.nan)


def _loss_curve(axes: Axes, x: Floats, losses: Floats, number: int, label: str) -> None:
    """The points, faintly, and their running mean."""
    colour = SERIES[number % len(SERIES)]
    axes.plot(x, losses, color=colour, alpha=0.22, linewidth=0.8)
    axes.plot(x, _running_mean(losses), color=colour, linewidth=1.8, label=label)


def _running_mean(values: Floats) -> Floats:
    """Mean over a window of a fiftieth of the points, cut off at the ends; NaN counts as absent.

    Where a value itself is absent so is its mean, so that a gap stays a gap.
    """
    half = max(1, len(values) // 100)
    present = np.isfinite(values)
    sums = np.concatenate(([0.0], np.cumsum(np.where(present, values, 0.0))))
    counts = np.concatenate(([0], np.cumsum(present)))
    at = np.arange(len(values))
    low, high = np.maximum(0, at - half), np.minimum(len(values), at + half + 1)
    window = np.maximum(1, counts[high] - counts[low])
    return np.where(present, (sums[high] - sums[low]) / window, np.nan)


def _held_out(axes: Axes, runs: Sequence[Run]) -> None:
    for number, (summary, _) in enumerate(runs):
        if summary.loss is None:
            continue
        axes.axhline(
            summary.loss,
            color=SERIES[number % len(SERIES)],
            linewidth=1.1,
            linestyle=(0, (1, 1.5)),
            label=f"held-out at the end: {units.significant(summary.loss, 4)}",
        )


def _staleness_edges(distributions: Sequence[Distribution]) -> Floats:
    """Edges of bins that hold whole numbers of values, so that no bar is fuller by its width."""
    values = [value for one in distributions for value, _ in one.counts()] or [0]
    low, high = min(0, *values), max(2, *values)
    step = -(-(high - low + 1) // _MOST_STALENESS_BARS)
    bins = -(-(high - low + 1) // step)
    return low - 0.5 + step * np.arange(bins + 1, dtype=np.float64)


def _stacked(axes: Axes, run: Run, activities: Sequence[Activity]) -> Floats:
    """Bars of these activities, one stack a learner, in % of the run; returns their tops."""
    summary, tally = run
    learners = np.arange(tally.learners)
    spent = [tally.seconds_by_activity(learner) for learner in range(tally.learners)]
    bottom = np.zeros(tally.learners)
    for activity in activities:
        seconds = np.array([one.get(activity, 0.0) for one in spent])
        if not seconds.any():
            continue
        share = 100 * seconds / (summary.elapsed_s or 1.0)
        width = _bar_width(tally)
        colour = COLOURS[activity]
        axes.bar(learners, share, width, bottom, color=colour, label=activity.value)
        bottom = bottom + share
    return bottom


def _bar_width(tally: Tally) -> float:
    # Gaps between many thin bars would shimmer.
    return 0.8 if tally.learners <= 96 else 1.0


def _learner_axis(axes: Axes, tally: Tally) -> None:
    axes.set_xlim(-0.6, tally.learners - 0.4)
    # Learners come in powers of two, servers of 4 or 8.
    apart = 1
    while tally.learners > 16 * apart:
        apart *= 2
    axes.set_xticks(range(0, tally.learners, apart))
    axes.tick_params(axis="x", length=0)
    axes.grid(axis="y")
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        axes.legend(
            handles,
            labels,
            loc="lower right",
            bbox_to_anchor=(1.0, 1.0),
            ncols=len(handles),
            borderaxespad=0.2,
            handlelength=1.0,
            columnspacing=1.2,
        )


def _clock(runs: Sequence[Run]) -> str:
    modes = {summary.mode for summary, _ in runs}
    return "virtual time" if modes == {"simulated"} else "time"


def _above_bar(axes: Axes, row: int, text: str) -> None:
    """Above its bar a name needs no margin, however long it is."""
    axes.text(
        0.008,
        row - 0.25,
        text,
        transform=axes.get_yaxis_transform(),
        va="bottom",
        size=8.5,
        parse_math=False,
    )


def _bar_rows(axes: Axes, rows: int) -> None:
    axes.set_ylim(rows - 0.6, -0.75)
    axes.set_yticks([])
    axes.grid(axis="x")


def _shortened(name: str) -> str:
    """The middle of a long name goes: a link's ends are what tells it apart."""
    if len(name) <= _LONGEST_NAME:
        return name
    half = (_LONGEST_NAME - 1) // 2
    return f"{name[:half]}…{name[-half:]}"
