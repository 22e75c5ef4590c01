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
from dualrt.sweep.rows import Row, apart_from_seeds, check_figure

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
        if math.isnan(number):
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
        return f"{self.figure} {'>=' if self.at_least else '<='} {self.value:g}"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A combination, the seed left out, with its runs."""

    combination: Combination
    rows: tuple[Row, ...]

    def values(self, figure: str) -> list[float] | None:
        """A figure of each run; None where one failed, or has no such figure."""
        found = [None if row.figures is None else getattr(row.figures, figure) for row in self.rows]
        known = [value for value in found if value is not None]
        return known if len(known) == len(found) else None

    def mean(self, figure: str) -> float | None:
        """Over the seeds; None as in `values`."""
        values = self.values(figure)
        return None if values is None else math.fsum(values) / len(values)

    def within(self, bounds: Iterable[Bound]) -> bool:
        """Whether all bounds hold with every seed; not where a figure is not known."""
        judged = ((bound, self.values(bound.figure)) for bound in bounds)
        return all(values is not None and all(map(bound.holds, values)) for bound, values in judged)


@dataclass(frozen=True, slots=True)
class Choice:
    """What was asked for, and what came of it."""

    figure: str
    bounds: tuple[Bound, ...]
    will_do: tuple[Candidate, ...]
    """All that are within the bounds and have the figure, the best first."""


def candidates(rows: Iterable[Row]) -> list[Candidate]:
    """The combinations, in the order of the rows."""
    return [Candidate(others, tuple(group)) for others, group in apart_from_seeds(rows)]


def choose(rows: Sequence[Row], bounds: Sequence[Bound], figure: str | None) -> Choice:
    """Those combinations that are within the bounds, the best by `figure`, or the usual, first."""
    judged = candidates(rows)
    name = figure or next(
        (usual for usual in USUAL if any(one.mean(usual) is not None for one in judged)), USUAL[-1]
    )
    known = {
        place: mean for place, one in enumerate(judged) if (mean := one.mean(name)) is not None
    }
    places = [place for place in known if judged[place].within(bounds)]
    places.sort(key=lambda place: _badness(name, known[place]))
    return Choice(name, tuple(bounds), tuple(judged[place] for place in places))


def frontier(points: Sequence[tuple[float, float]], x: str, y: str) -> list[int]:
    """Places of the points that no other beats in one figure without losing in the other.

    In ascending order of the first figure.
    """
    scored = [(_badness(x, one), _badness(y, other)) for one, other in points]
    best, found = math.inf, []
    for place in sorted(range(len(points)), key=scored.__getitem__):
        if scored[place][1] < best:
            best = scored[place][1]
            found.append(place)
    return sorted(found, key=lambda place: points[place])


def _badness(figure: str, value: float) -> float:
    return -value if figure in LARGER_IS_BETTER else value
