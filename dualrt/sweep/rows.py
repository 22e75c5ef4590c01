"""Rows: what a sweep gives, one for each combination, and their spread over seeds.

Owns which figures of a summary a sweep keeps, and their names in its files. Must not know how a run
came about.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from dualrt.core.errors import UsageError
from dualrt.observe.summary import Summary
from dualrt.sweep.axes import Combination

SEED = "seed"


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of one run; the fields' names are columns. None is unknown."""

    loss: float | None
    accuracy: float | None
    error: float | None
    """1 - accuracy."""
    train_loss: float | None
    seconds_per_iteration: float | None
    hours_per_epoch: float | None
    hours_total: float | None
    speedup_over_one: float | None
    servers: int | None
    server_hours_total: float | None
    cost_total: float | None
    ci_percent: float | None
    """Of the rate that hours and speed-up were extrapolated with; None if they were not."""
    elapsed_s: float
    steps: int
    updates: int
    staleness_mean: float | None
    staleness_p99: int | None
    staleness_max: int | None
    consensus_distance: float | None
    wait_fraction: float | None
    bytes_sent: int
    timing_digest: str | None
    numerics_digest: str | None
    wall_s: float
    fitted: str | None = None
    """Keys whose values were fitted, with blanks between; None if there are none."""

    @classmethod
    def of(cls, summary: Summary) -> Figures:
        """Those of a summary."""
        accuracy, staleness, steady = summary.accuracy, summary.staleness, summary.steady
        return cls(
            loss=summary.loss,
            accuracy=accuracy,
            error=None if accuracy is None else 1 - accuracy,
            train_loss=summary.train_loss,
            seconds_per_iteration=summary.seconds_per_iteration,
            hours_per_epoch=summary.hours_per_epoch,
            hours_total=summary.hours_total,
            speedup_over_one=summary.speedup_over_one,
            servers=summary.servers,
            server_hours_total=summary.server_hours_total,
            cost_total=summary.cost_total,
            ci_percent=steady.ci_percent if steady and steady.extrapolated else None,
            elapsed_s=summary.elapsed_s,
            steps=summary.steps,
            updates=summary.updates,
            staleness_mean=staleness.mean,
            staleness_p99=staleness.p99,
            staleness_max=staleness.max,
            consensus_distance=summary.consensus_distance,
            wait_fraction=summary.wait_fraction,
            bytes_sent=summary.bytes_sent,
            timing_digest=summary.digest.timing,
            numerics_digest=summary.digest.numerics,
            wall_s=summary.wall_s,
            fitted=" ".join(one.key for one in summary.fitted) or None,
        )


NUMBERS = tuple(
    field.name
    for field in fields(Figures)
    if field.name not in {"timing_digest", "numerics_digest", "fitted"}
)
"""Figures that can be compared and drawn."""


def check_figure(option: str, figure: str | None) -> None:
    """Raise UsageError for a figure, given with that option, that a sweep does not have."""
    if figure is not None and figure not in NUMBERS:
        raise UsageError(
            f"{option} {figure}: no figure has that name. Known are {', '.join(NUMBERS)}"
        )


@dataclass(frozen=True, slots=True)
class Row:
    """One combination and what came of it."""

    combination: Combination
    scenario: str
    """A hash of the whole scenario, with all defaults; see `run.fingerprint`."""
    figures: Figures | None
    """None if the run failed."""
    failed: str = ""
    """Why it did."""


@dataclass(frozen=True, slots=True)
class Spread:
    """How a figure varies over seeds, all else being equal."""

    combination: Combination
    """Without the seed."""
    figure: str
    """ "error" where there is an accuracy, else "loss"."""
    seeds: int
    without: int
    """How many of these have no such figure: the run failed, or its loss is not finite."""
    mean: float | None
    min: float | None
    max: float | None


def apart_from(keys: Collection[str], rows: Iterable[Row]) -> list[tuple[Combination, list[Row]]]:
    """Rows that differ by these keys alone together, with what they share; in the rows' order."""
    groups: dict[tuple[tuple[str, str], ...], list[Row]] = {}
    for row in rows:
        others = tuple((key, text) for key, text in row.combination.items() if key not in keys)
        groups.setdefault(others, []).append(row)
    return [(dict(others), group) for others, group in groups.items()]


def over_seeds(rows: Iterable[Row]) -> list[Spread]:
    """The spread over seeds for each combination of the other keys, in the order of the rows."""
    return [_spread(others, group) for others, group in apart_from({SEED}, rows)]


def _spread(combination: Combination, rows: list[Row]) -> Spread:
    figures = [row.figures for row in rows if row.figures is not None]
    graded = any(one.accuracy is not None for one in figures)
    found = [one.error if graded else one.loss for one in figures]
    known = [value for value in found if value is not None]
    return Spread(
        combination=combination,
        figure="error" if graded else "loss",
        seeds=len(rows),
        without=len(rows) - len(known),
        mean=sum(known) / len(known) if known else None,
        min=min(known, default=None),
        max=max(known, default=None),
    )


def flat(row: Row, values: Mapping[str, Any]) -> dict[str, Any]:
    """The row as one table: swept keys with `values`, then figures, as far as there are any."""
    figures = {} if row.figures is None else asdict(row.figures)
    return {**values, "scenario": row.scenario, **figures, "failed": row.failed}
