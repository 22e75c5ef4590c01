"""What `sweep` does on the screen: a row for each combination, and the spread over seeds.

Owns the form of both tables and of the JSON. What a sweep is, `dualrt.sweep` knows.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from dualrt.cli import choices, show
from dualrt.cli.files import check_picture
from dualrt.observe import units
from dualrt.sweep import Axis, Row, Spread, over_seeds, scatter
from dualrt.sweep import sweep as simulate_all
from dualrt.sweep.axes import Combination
from dualrt.sweep.choice import Choice, choose
from dualrt.sweep.plot import draw
from dualrt.sweep.rows import SEED, Figures, check_figure, flat

Column = tuple[str, Callable[[Figures], str]]

_LEARNT: tuple[Column, ...] = (
    ("loss", lambda figures: units.significant(figures.loss, 4)),
    ("accuracy", lambda figures: units.percent(figures.accuracy)),
    ("error", lambda figures: units.percent(figures.error)),
    ("consensus", lambda figures: units.significant(figures.consensus_distance)),
)
"""Of runs with numbers."""

_LASTED: tuple[Column, ...] = (
    ("in all", lambda figures: units.hours(figures.hours_total)),
    ("speed-up", lambda figures: units.factor(figures.speedup_over_one)),
)
"""Of timing alone, and where there is a price."""

_PAID: tuple[Column, ...] = (("cost", lambda figures: units.cost(figures.cost_total)),)

_ALWAYS: tuple[Column, ...] = (
    ("a step", lambda figures: units.seconds(figures.seconds_per_iteration)),
    ("staleness", lambda figures: units.significant(figures.staleness_mean)),
)


@dataclass(frozen=True, slots=True)
class Where:
    """Which processes do the work."""

    engine: str
    address: str | None
    jobs: int | None


@dataclass(frozen=True, slots=True)
class Plot:
    """The picture that is asked for: `y` over the first swept key, or over the figure `x`."""

    file: Path
    x: str | None
    y: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The options of a sweep."""

    file: str
    over: Sequence[str]
    overrides: Sequence[str]
    where: Where
    json: bool
    out: Path | None
    plot: Plot | None
    wanted: choices.Wanted


def sweep(request: Request) -> None:
    """Simulate every combination, print, draw.

    Exits with 1 if a run failed, or none is within the bounds that are wanted.
    """
    axes = [Axis.parse(option) for option in request.over]
    where, out, plot, wanted = request.where, request.out, request.plot, request.wanted
    bounds = wanted.bounds()
    wanted.check_across([axis.key for axis in axes])
    if plot is not None:
        check_picture(plot.file, "--plot")
        check_figure("--x", plot.x)
        check_figure("--y", plot.y)
    with show.progress("simulating every combination") as tell:
        rows = simulate_all(
            request.file,
            axes,
            overrides=request.overrides,
            jobs=where.jobs,
            on=where.engine,
            address=where.address,
            out=out,
            on_progress=tell,
            on_warning=show.warn,
        )
    spreads = over_seeds(rows) if any(axis.key == SEED for axis in axes) else []
    choice = choose(rows, bounds, wanted.best, wanted.across) if wanted.anything else None
    if request.json:
        print(json.dumps(_plain(axes, rows, spreads, choice)))
    else:
        show.results.print(_table(axes, rows))
        if spreads and not _timing_only(rows):
            show.results.print(_spread_table(axes, spreads))
        if choice is not None and choice.will_do:
            show.results.print(Text(choices.told(choice)), soft_wrap=True)
    if out is not None:
        show.note(f"kept in {out}")
    failed = [row for row in rows if row.figures is None]
    amiss = [f"{choices.named(row.combination)} failed: {row.failed}" for row in failed]
    if choice is not None and not choice.will_do:
        amiss.append(choices.nothing_will_do(choice))
    for told in amiss:
        show.warn(told)
    if plot is not None and len(failed) < len(rows):
        title = f"{request.file}, swept"
        if plot.x is None:
            draw(plot.file, rows, axes, plot.y, title)
        else:
            scatter.draw(plot.file, rows, plot.x, plot.y, bounds, title, wanted.across)
        show.note(f"picture: {plot.file}")
    if amiss:
        sys.exit(1)


def _plain(
    axes: Sequence[Axis], rows: Sequence[Row], spreads: Sequence[Spread], choice: Choice | None
) -> dict[str, Any]:
    values = {axis.key: dict(zip(axis.texts, axis.values, strict=True)) for axis in axes}

    def valued(combination: Combination) -> dict[str, Any]:
        return {key: values[key][text] for key, text in combination.items()}

    chosen = {} if choice is None else {"choice": choices.plain(choice, valued)}
    return {
        "runs": [flat(row, valued(row.combination)) for row in rows],
        "over": {axis.key: list(axis.values) for axis in axes},
        "by": [{**asdict(spread), "combination": valued(spread.combination)} for spread in spreads],
        **chosen,
    }


def _table(axes: Sequence[Axis], rows: Sequence[Row]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for axis in axes:
        table.add_column(Text(axis.key), overflow="fold")
    columns = _columns(rows)
    for heading, _ in columns:
        # Where the terminal is narrow what was swept is folded, and never a figure.
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        cells = [Text(text) for text in row.combination.values()]
        if row.figures is None:
            table.add_row(*cells, Text("failed", style="red"))
        else:
            table.add_row(*cells, *(shown(row.figures) for _, shown in columns))
    fitted = dict.fromkeys(row.figures.fitted for row in rows if row.figures is not None)
    keys = dict.fromkeys(key for listed in fitted if listed for key in listed.split())
    if keys:
        table.caption = Text(f"fitted to measurements: {', '.join(keys)}")
        table.caption_justify = "left"
    return table


def _columns(rows: Sequence[Row]) -> Sequence[Column]:
    """Those that there is something to say in."""
    paid = any(row.figures is not None and row.figures.cost_total is not None for row in rows)
    timing_only = _timing_only(rows)
    return (
        *(() if timing_only else _LEARNT),
        *(_LASTED if timing_only or paid else ()),
        *(_PAID if paid else ()),
        *_ALWAYS,
    )


def _timing_only(rows: Sequence[Row]) -> bool:
    """Whether there are runs, and none had numbers: there is nothing to spread over seeds."""
    known = [row.figures for row in rows if row.figures is not None]
    return bool(known) and all(
        figures.loss is None and figures.numerics_digest is None for figures in known
    )


def _spread_table(axes: Sequence[Axis], spreads: Sequence[Spread]) -> Table:
    figure = "error" if any(one.figure == "error" for one in spreads) else "loss"
    table = Table(title=f"held-out {figure} over seeds", title_justify="left", box=SIMPLE_HEAD)
    for axis in axes:
        if axis.key != SEED:
            table.add_column(Text(axis.key))
    for heading in ("seeds", "mean", "min", "max"):
        table.add_column(heading, justify="right")
    lacking = any(one.without for one in spreads)
    if lacking:
        table.add_column("failed or diverged", justify="right")
    for one in spreads:
        shown = units.percent if one.figure == "error" else units.significant
        table.add_row(
            *(Text(text) for text in one.combination.values()),
            str(one.seeds),
            *(shown(value) for value in (one.mean, one.min, one.max)),
            *([str(one.without)] if lacking else []),
        )
    return table
