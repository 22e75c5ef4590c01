"""What `sweep --max --min --best` says: the combination to take, or why there is none.

Owns the words, and their JSON. What is best, `dualrt.sweep.choice` knows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from dualrt.observe import units
from dualrt.sweep.axes import Combination
from dualrt.sweep.choice import Bound, Candidate, Choice, candidates
from dualrt.sweep.rows import Row, check_figure


@dataclass(frozen=True, slots=True)
class Wanted:
    """What combinations are to be judged by: `FIGURE=VALUE` texts, and the figure that decides."""

    at_most: Sequence[str]
    at_least: Sequence[str]
    best: str | None

    def bounds(self) -> list[Bound]:
        """What may be of each figure. Raises UsageError for a text that says no such thing."""
        check_figure("--best", self.best)
        return [
            *(Bound.parse(text, at_least=False) for text in self.at_most),
            *(Bound.parse(text, at_least=True) for text in self.at_least),
        ]

    @property
    def anything(self) -> bool:
        """Whether a choice was asked for at all."""
        return bool(self.at_most or self.at_least or self.best)


def told(choice: Choice) -> str:
    """The best combination, in a line."""
    best, figures = choice.will_do[0], [choice.figure, *(one.figure for one in choice.bounds)]
    within = f" within {_listed(choice.bounds)}" if choice.bounds else ""
    known = ", ".join(
        f"{name} {units.significant(best.mean(name))}" for name in dict.fromkeys(figures)
    )
    return f"best by {choice.figure}{within}: {named(best.combination)} ({known})"


def nothing_will_do(choice: Choice, rows: Sequence[Row]) -> str:
    """Why there is no best: a figure that no run has, or how near one comes to each bound."""
    asked = dict.fromkeys((choice.figure, *(bound.figure for bound in choice.bounds)))
    judged = candidates(rows)
    for figure in asked:
        if all(one.mean(figure) is None for one in judged):
            return f"no run has {figure}, so none is best{_NEEDS.get(figure, '')}"
    nearest = [_nearest(bound, judged) for bound in choice.bounds]
    return f"no combination is within {_listed(choice.bounds)}: {'; '.join(nearest)}"


def plain(choice: Choice, valued: Callable[[Combination], dict[str, Any]]) -> dict[str, Any]:
    """For JSON; `valued` gives a combination's values for its texts."""
    return {
        "figure": choice.figure,
        "bounds": [str(bound) for bound in choice.bounds],
        "will_do": [
            {"combination": valued(one.combination), choice.figure: one.mean(choice.figure)}
            for one in choice.will_do
        ],
    }


def named(combination: Combination) -> str:
    """A combination as it was written."""
    return ", ".join(f"{key}={text}" for key, text in combination.items())


_NEEDS = {
    "cost_total": ". Say what a server costs: --set cluster.price_per_server_hour=...",
    "accuracy": ". Only a run with simulation.numerics = true has one",
}
"""What a figure takes that is there or not as the scenario says."""


def _nearest(bound: Bound, judged: Sequence[Candidate]) -> str:
    means = [(mean, one) for one in judged if (mean := one.mean(bound.figure)) is not None]
    value, one = (max if bound.at_least else min)(means, key=lambda pair: pair[0])
    return f"{bound.figure} comes to {units.significant(value)} with {named(one.combination)}"


def _listed(bounds: Sequence[Bound]) -> str:
    return " and ".join(map(str, bounds))
