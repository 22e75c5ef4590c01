"""Tables: summaries for a terminal.

Owns which figures people see first, and how runs are set side by side. Must not know how a
figure was obtained.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from dualrt.observe import units
from dualrt.observe.summary import Steady, Summary

Rows: TypeAlias = Iterable[tuple[str, str]]


def figures_table(title: str, groups: Iterable[Rows]) -> Table:
    """A figure a row, in groups with a line between them."""
    table = Table(title=Text(title), box=SIMPLE_HEAD, show_header=False, title_justify="left")
    table.add_column("figure", no_wrap=True)
    table.add_column("value", overflow="fold")
    for rows in groups:
        for label, value in rows:
            # Text, because a name may hold the brackets of markup.
            table.add_row(Text(label), Text(value))
        table.add_section()
    return table


def summary_table(summary: Summary) -> Table:
    """One run, a figure a row, in groups."""
    groups = (_run, _time, _model, _asynchrony, _faults, _links, _fitted)
    title = f"{summary.title} ({summary.mode})"
    return figures_table(title, (group(summary) for group in groups))


def comparison_table(summaries: Sequence[Summary]) -> Table:
    """Runs side by side.

    Two (a simulated run and the real one, say) get a figure a row and a third column, which holds
    second / first where ratios mean something, and second - first elsewhere. Any other number
    (seeds x algorithms) gets a run a row.
    """
    return _of_two(*summaries) if len(summaries) == 2 else _of_many(summaries)


def _links(summary: Summary) -> Rows:
    for name, utilisation in summary.busiest_links:
        yield f"link {name}", f"{units.percent(utilisation)} used"


def _fitted(summary: Summary) -> Rows:
    for one in summary.fitted:
        off = "" if one.rms_error is None else f", {units.percent(one.rms_error)} off (rms)"
        points = units.counted(len(one.points), "point")
        yield "fitted", f"{one.key} = {one.value:.4g} ({one.calibration}, {points}{off})"


def _run(summary: Summary) -> Rows:
    fewest, most = min(summary.steps_by_learner), max(summary.steps_by_learner)
    yield "algorithm", summary.algorithm
    yield "learners", units.count(summary.learners)
    yield "batch of a learner", f"{units.count(summary.batch)} samples"
    if summary.memory is not None:
        memory = summary.memory
        least, all_of_it = units.size(memory.least_bytes), units.size(memory.device_bytes)
        fits = "" if memory.fits else ": it does not fit"
        yield "memory of a device", f"{least} of {all_of_it} without activations{fits}"
    yield "mini-batches", units.count(summary.steps)
    yield "mini-batches a learner", f"{units.count(fewest)} to {units.count(most)}"


def _time(summary: Summary) -> Rows:
    virtual = "virtual time" if summary.mode == "simulated" else "time"
    projected = ", projected" if summary.extrapolated else ""
    yield virtual, units.seconds(summary.elapsed_s)
    yield "time to run it", units.seconds(summary.wall_s)
    yield "mini-batches a second of that", units.rate(summary.learner_steps_per_s)
    yield "an iteration", units.seconds(summary.seconds_per_iteration)
    yield "an epoch", units.hours(summary.hours_per_epoch)
    yield f"{summary.epochs_total:g} epochs{projected}", units.hours(summary.hours_total)
    if summary.cost_total is not None:
        yield (
            "cost",
            f"{units.cost(summary.cost_total)} for {units.counted(summary.servers, 'server')}",
        )
    if summary.steady is not None:
        yield "steady rate", _steady(summary.steady)
    yield "speed-up over one device", units.factor(summary.speedup_over_one)
    yield "devices wait", units.percent(summary.wait_fraction)
    yield "sent", units.size(summary.bytes_sent)


def _steady(steady: Steady) -> str:
    known = "unknown" if steady.ci_percent is None else f"known to ±{steady.ci_percent:.2g} %"
    return f"{known} (95 %), {'extrapolated' if steady.extrapolated else 'not extrapolated'}"


def _model(summary: Summary) -> Rows:
    yield "held-out loss", units.significant(summary.loss, 4)
    if summary.accuracy is not None:
        yield "held-out accuracy", units.percent(summary.accuracy)
    yield "training loss at the end", units.significant(summary.train_loss, 4)
    yield "consensus distance", units.significant(summary.consensus_distance)
    if summary.conservation_error is not None:
        yield "conservation error", f"{summary.conservation_error:.1e}"


def _faults(summary: Summary) -> Rows:
    faults = summary.faults
    if faults is None:
        return
    down = ", ".join(map(str, faults.down_at_the_end)) or "none"
    yield "crashes / returns", f"{faults.crashes} / {faults.returns}"
    yield "learners down at the end", down
    yield "messages lost", units.count(faults.messages_lost)
    yield (
        "repeated / delayed / overtaken",
        " / ".join(
            units.count(number)
            for number in (
                faults.messages_duplicated,
                faults.messages_delayed,
                faults.messages_reordered,
            )
        ),
    )
    yield "waits given up", units.count(faults.waits_given_up)
    yield "exchanges abandoned", units.count(faults.exchanges_abandoned)
    if faults.updates_uncounted:
        yield "updates of the dead not counted", units.count(faults.updates_uncounted)


def _asynchrony(summary: Summary) -> Rows:
    staleness = summary.staleness
    yield "staleness, mean", units.significant(staleness.mean)
    yield (
        "staleness, median / 99 % / most",
        " / ".join(map(units.count, (staleness.p50, staleness.p99, staleness.max))),
    )
    yield "updates not seen, mean", units.significant(summary.missed_mean)
    if summary.digest.timing is not None:
        yield "digest of timing", summary.digest.timing
    if summary.digest.numerics is not None:
        yield "digest of numerics", summary.digest.numerics


Change: TypeAlias = Callable[[float, float], str]


def _ratio(first: float, second: float) -> str:
    return units.factor(second / first) if first else units.MISSING


def _difference(first: float, second: float) -> str:
    return f"{'+' if second >= first else '−'}{units.significant(abs(second - first))}"


def _points(first: float, second: float) -> str:
    return f"{'+' if second >= first else '−'}{100 * abs(second - first):.1f} points"


@dataclass(frozen=True, slots=True)
class _Figure:
    """A figure that runs are compared by."""

    label: str
    short: str | None
    """The heading of its column in a table of many runs; None leaves it out there."""
    of: Callable[[Summary], float | None]
    show: Callable[[float | None], str]
    change: Change


def _four(value: float | None) -> str:
    return units.significant(value, 4)


def _whole(value: float | None) -> str:
    return units.MISSING if value is None else f"{value:,.0f}"


_FIGURES = (
    _Figure("held-out loss", "loss", lambda s: s.loss, _four, _difference),
    _Figure("held-out accuracy", "accuracy", lambda s: s.accuracy, units.percent, _points),
    _Figure("training loss at the end", None, lambda s: s.train_loss, _four, _difference),
    _Figure(
        "mini-batches a second",
        "steps/s",
        lambda s: s.steps / s.elapsed_s if s.elapsed_s else None,
        units.rate,
        _ratio,
    ),
    _Figure("an iteration", "iteration", lambda s: s.seconds_per_iteration, units.seconds, _ratio),
    _Figure("an epoch", None, lambda s: s.hours_per_epoch, units.hours, _ratio),
    _Figure("devices wait", "wait", lambda s: s.wait_fraction, units.percent, _points),
    _Figure(
        "staleness, mean",
        "staleness",
        lambda s: s.staleness.mean,
        units.significant,
        _difference,
    ),
    _Figure("staleness, 99 %", "99 %", lambda s: s.staleness.p99, _whole, _difference),
    _Figure(
        "updates not seen, mean",
        None,
        lambda s: s.missed_mean,
        units.significant,
        _difference,
    ),
    _Figure(
        "consensus distance",
        "consensus",
        lambda s: s.consensus_distance,
        units.significant,
        _ratio,
    ),
)


def _shown(summaries: Sequence[Summary]) -> list[_Figure]:
    return [one for one in _FIGURES if any(one.of(run) is not None for run in summaries)]


def _of_two(first: Summary, second: Summary) -> Table:
    table = Table(box=SIMPLE_HEAD)
    table.add_column("", no_wrap=True)
    for summary in (first, second):
        table.add_column(
            Text(f"{summary.title}\n{summary.algorithm}, {summary.mode}"), justify="right"
        )
    table.add_column("second ÷ first,\nsecond − first", justify="right")
    for figure in _shown((first, second)):
        one, other = figure.of(first), figure.of(second)
        change = units.MISSING if one is None or other is None else figure.change(one, other)
        table.add_row(figure.label, figure.show(one), figure.show(other), change)
    return table


def _of_many(summaries: Sequence[Summary]) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("run", overflow="fold")
    table.add_column("algorithm", no_wrap=True)
    table.add_column("mode", no_wrap=True)
    table.add_column("n", justify="right", no_wrap=True)
    figures = [figure for figure in _shown(summaries) if figure.short is not None]
    for figure in figures:
        # Where the terminal is narrow the title gives way, and never a number.
        table.add_column(figure.short or figure.label, justify="right", no_wrap=True)
    for run in summaries:
        table.add_row(
            Text(run.title),
            Text(run.algorithm),
            run.mode,
            units.count(run.learners),
            *(figure.show(figure.of(run)) for figure in figures),
        )
    return table
