"""Choice: which of a sweep's combinations will do, and which of those is best.

Owns the bounds on figures (`--max FIGURE=VALUE`, `--min`), what better means, and how a combination
of runs with different seeds is judged. Must not know how runs came about, nor how they are shown.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dualrt.core.errors import UsageError
from dualrt.sweep.axes import Combination
from dualrt.sweep.rows import SEED, Row, apart_from, check_figure

LARGER_IS_BETTER = frozenset({"accuracy", "speedup_over_one"})
"""Of all other figures the smallest is best."""

USUAL = ("cost_total", "hours_total")
"""What is best if nothing is said: the first of these that any run has."""


@dataclass(frozen=True, slots=True)
class Bound:
    """What a figure may be at most, or at least."""

    figure: str
    value: float
    at_least: bool

    @classmethod
    def parse(cls, text: str, at_least: bool) -> Bound:
        """Take `FIGURE=VALUE` apart. Raises UsageError if it is none, or no figure of a sweep."""
        option = "--min" if at_least else "--max"
        figure, _, value = (part.strip() for part in text.partition("="))
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise UsageError(
                f"{option} {text}: does not have the form FIGURE=VALUE. "
                f"Write a number behind the figure: {option} hours_total=12"
            )
        check_figure(option, figure)
        return cls(figure, number, at_least)

    def holds(self, value: float) -> bool:
        """Whether a figure is within."""
        return value >= self.value if self.at_least else value <= self.value

    def __str__(self) -> str:
        return f"{self.figure} {'>=' if self.at_least else '<='} {plainly(self.value)}"


@dataclass(frozen=True, slots=True)
class Candidate:
    """Runs that are judged together: they differ by the seed, or what else does not count."""

    combination: Combination
    rows: tuple[Row, ...]

    def values(self, figure: str) -> list[float] | None:
        """A figure of each run; None where one failed, or has no such figure."""
        found = [None if row.figures is None else getattr(row.figures, figure) for row in self.rows]
        known = [value for value in found if value is not None]
        return known if len(known) == len(found) else None

    def mean(self, figure: str) -> float | None:
        """Over its runs; None as in `values`."""
        values = self.values(figure)
        return None if values is None else math.fsum(values) / len(values)

    def within(self, bounds: Iterable[Bound]) -> bool:
        """Whether all bounds hold in every run; not where a figure is not known."""
        judged = ((bound, self.values(bound.figure)) for bound in bounds)
        return all(values is not None and all(map(bound.holds, values)) for bound, values in judged)


@dataclass(frozen=True, slots=True)
class Choice:
    """What was asked for, and what came of it."""

    figure: str
    bounds: tuple[Bound, ...]
    judged: tuple[Candidate, ...]
    """All, in the order of the rows."""
    will_do: tuple[Candidate, ...]
    """All that are within the bounds and have the figure, the best first."""


def candidates(rows: Iterable[Row], across: Sequence[str] = ()) -> list[Candidate]:
    """What is judged, in the order of the rows; keys in `across` do not count, nor do seeds."""
    grouped = apart_from({SEED, *across}, rows)
    return [Candidate(others, tuple(group)) for others, group in grouped]


def usual(judged: Iterable[Candidate]) -> str:
    """The figure that decides if nothing is said."""
    known = list(judged)
    found = (name for name in USUAL if any(one.mean(name) is not None for one in known))
    return next(found, USUAL[-1])


def choose(
    rows: Sequence[Row], bounds: Sequence[Bound], figure: str | None, across: Sequence[str] = ()
) -> Choice:
    """Those combinations that are within the bounds, the best by `figure`, or the usual, first."""
    judged = candidates(rows, across)
    name = figure or usual(judged)
    scored = [
        (_badness(name, mean), one)
        for one in judged
        if (mean := one.mean(name)) is not None and one.within(bounds)
    ]
    scored.sort(key=lambda pair: pair[0])
    return Choice(name, tuple(bounds), tuple(judged), tuple(one for _, one in scored))


def plainly(value: float) -> str:
    """All digits of a number, and no more."""
    return repr(value).removesuffix(".0")


def frontier(points: Sequence[tuple[float, float]], x: str, y: str) -> list[int]:
    """Places of the points to which no other is at least as good in both figures and not equal.

    In ascending order of the first figure.
    """
    scored = [(_badness(x, one), _badness(y, other)) for one, other in points]
    best, found = (math.inf, math.inf), []
    for place in sorted(range(len(points)), key=scored.__getitem__):
        if scored[place][1] < best[1] or scored[place] == best:
            best = scored[place]
            found.append(place)
    return sorted(found, key=lambda place: points[place])


def _badness(figure: str, value: float) -> float:
    return -value if figure in LARGER_IS_BETTER else value
