"""What `sweep --max --min --best` says: the combination to take, or why there is none.

Owns the words, and their JSON. What is best, `dualrt.sweep.choice` knows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from dualrt.core.errors import UsageError
from dualrt.observe import units
from dualrt.sweep.axes import Combination
from dualrt.sweep.choice import Bound, Candidate, Choice, plainly
from dualrt.sweep.rows import check_figure


@dataclass(frozen=True, slots=True)
class Wanted:
    """What combinations are to be judged by: `FIGURE=VALUE` texts, and the figure that decides."""

    at_most: Sequence[str]
    at_least: Sequence[str]
    best: str | None
    across: Sequence[str]

    def bounds(self) -> list[Bound]:
        """What may be of each figure. Raises UsageError for a text that says no such thing."""
        check_figure("--best", self.best)
        return [
            *(Bound.parse(text, at_least=False) for text in self.at_most),
            *(Bound.parse(text, at_least=True) for text in self.at_least),
        ]

    def check_across(self, keys: Sequence[str]) -> None:
        """Raise UsageError for a key that is not swept."""
        for key in self.across:
            if key not in keys:
                raise UsageError(f"--across {key}: it is not swept. Give its values with --over")

    @property
    def anything(self) -> bool:
        """Whether a choice was asked for at all."""
        return bool(self.at_most or self.at_least or self.best)


def told(choice: Choice) -> str:
    """The best combination, in a line, and how many others are as good."""
    best, figures = choice.will_do[0], [choice.figure, *(one.figure for one in choice.bounds)]
    within = f" within {_listed(choice.bounds)}" if choice.bounds else ""
    known = ", ".join(
        f"{name} {units.significant(best.mean(name), 4)}" for name in dict.fromkeys(figures)
    )
    value = best.mean(choice.figure)
    alike = sum(one.mean(choice.figure) == value for one in choice.will_do[1:])
    others = f", as good as {units.counted(alike, 'other')}" if alike else ""
    return f"best by {choice.figure}{within}: {named(best.combination)} ({known}){others}"


def nothing_will_do(choice: Choice) -> str:
    """Why there is no best: what no run has, or how near one comes to each bound."""
    runs = [row.figures for one in choice.judged for row in one.rows if row.figures is not None]
    if not runs:
        return "all runs failed, so none is best"
    for figure in dict.fromkeys((*(bound.figure for bound in choice.bounds), choice.figure)):
        if all(getattr(figures, figure) is None for figures in runs):
            return f"no run has {figure}, so none is best{_NEEDS.get(figure, '')}"
        if all(one.values(figure) is None for one in choice.judged):
            return f"every combination has a run that failed, or has no {figure}, so none is best"
    nearest = "; ".join(_nearest(bound, choice.judged) for bound in choice.bounds)
    if all(any(one.within([bound]) for one in choice.judged) for bound in choice.bounds):
        nearest = f"each can be kept, but not all by one that has {choice.figure}"
    return f"no combination is within {_listed(choice.bounds)}: {nearest}"


def plain(choice: Choice, valued: Callable[[Combination], dict[str, Any]]) -> dict[str, Any]:
    """For JSON; `valued` gives a combination's values for its texts."""
    figures = dict.fromkeys((choice.figure, *(bound.figure for bound in choice.bounds)))
    return {
        "figure": choice.figure,
        "bounds": [
            {"figure": one.figure, "at_least" if one.at_least else "at_most": one.value}
            for one in choice.bounds
        ],
        "will_do": [
            {"combination": valued(one.combination), **{name: one.mean(name) for name in figures}}
            for one in choice.will_do
        ],
        "why_none": None if choice.will_do else nothing_will_do(choice),
    }


def named(combination: Combination) -> str:
    """A combination as it was written."""
    return ", ".join(f"{key}={text}" for key, text in combination.items()) or "all runs"


_NEEDS = {
    "cost_total": ". Say what a server costs: --set cluster.price_per_server_hour=...",
    "accuracy": ". Only a run with simulation.numerics = true has one",
}
"""What a figure takes that is there or not as the scenario says."""


def _nearest(bound: Bound, judged: Sequence[Candidate]) -> str:
    """The combination whose worst run is nearest to a bound that none keeps."""
    worst, nearest = (min, max) if bound.at_least else (max, min)
    known = [(worst(values), one) for one in judged if (values := one.values(bound.figure))]
    value, one = nearest(known, key=lambda pair: pair[0])
    return f"{bound.figure} comes to {plainly(value)} with {named(one.combination)}"


def _listed(bounds: Sequence[Bound]) -> str:
    return " and ".join(map(str, bounds))
