"""Which combinations of a sweep will do, and which is best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualrt.cli.choices import nothing_will_do, told
from dualrt.core.errors import UsageError
from dualrt.sweep import Row
from dualrt.sweep.choice import Bound, Choice, candidates, choose, frontier
from tests.sweep.examples import FIGURES


def run(learners: int, seed: int = 1, **figures: Any) -> Row:
    combination = {"learners": str(learners), "seed": str(seed)}
    return Row(combination, "s", replace(FIGURES, **figures))


def failed(learners: int, seed: int = 1) -> Row:
    return Row({"learners": str(learners), "seed": str(seed)}, "s", None, "it failed")


def choice(rows: Sequence[Row], figure: str | None, *bounds: str) -> Choice:
    """A bound is `figure<value` or `figure>value`."""
    parsed = [
        Bound.parse(text.replace("<", "=").replace(">", "="), at_least=">" in text)
        for text in bounds
    ]
    return choose(rows, parsed, figure)


def best_first(rows: Sequence[Row], figure: str | None, *bounds: str) -> list[int]:
    """The learners of what will do."""
    return [int(one.combination["learners"]) for one in choice(rows, figure, *bounds).will_do]


ROWS = (
    run(8, hours_total=20.0, cost_total=800.0, speedup_over_one=7.0),
    run(16, hours_total=10.0, cost_total=810.0, speedup_over_one=14.0),
    run(32, hours_total=9.0, cost_total=1500.0, speedup_over_one=15.0),
)


def test_the_smallest_is_best_but_of_accuracy_and_speed_up() -> None:
    assert best_first(ROWS, "hours_total") == [32, 16, 8]
    assert best_first(ROWS, "cost_total") == [8, 16, 32]
    assert best_first(ROWS, "speedup_over_one") == [32, 16, 8]
    assert best_first([run(2, accuracy=0.9), run(4, accuracy=0.8)], "accuracy") == [2, 4]


def test_cost_decides_where_there_is_a_price_and_hours_elsewhere() -> None:
    assert best_first(ROWS, None) == [8, 16, 32]
    free = [run(8, hours_total=2.0), run(16, hours_total=1.0)]
    assert best_first(free, None) == [16, 8]


def test_a_bound_is_kept_and_reached_exactly() -> None:
    assert best_first(ROWS, None, "hours_total<10") == [16, 32]
    assert best_first(ROWS, None, "hours_total<10", "speedup_over_one>15") == [32]
    assert best_first(ROWS, None, "hours_total<8") == []


def test_seeds_count_by_their_mean_and_keep_bounds_one_by_one() -> None:
    rows = [
        *(run(2, seed, hours_total=hours) for seed, hours in ((1, 1.0), (2, 9.0))),
        *(run(4, seed, hours_total=hours) for seed, hours in ((1, 4.0), (2, 5.0))),
    ]
    assert best_first(rows, "hours_total") == [4, 2]
    assert best_first(rows, "hours_total", "hours_total<5") == [4]
    assert [one.mean("hours_total") for one in candidates(rows)] == [5.0, 4.5]


def test_what_failed_or_has_no_such_figure_will_not_do() -> None:
    rows = [run(2, hours_total=1.0), failed(2, seed=2), run(4, hours_total=2.0)]
    assert best_first(rows, "hours_total") == [4]
    assert best_first(rows, "cost_total") == []
    assert best_first(rows, "hours_total", "accuracy>0") == []
    assert best_first([failed(2)], None) == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("hours_total", "--max hours_total: does not have the form FIGURE=VALUE"),
        ("hours_total=soon", "Write a number behind the figure"),
        ("hours_total=nan", "Write a number behind the figure"),
        ("hours_total=inf", "Write a number behind the figure"),
        ("hours=3", "--max hours: no figure has that name. Known are loss"),
        ("fitted=3", "no figure has that name"),
    ],
)
def test_a_bound_that_is_none_is_refused(text: str, problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        Bound.parse(text, at_least=False)


FEW = st.integers(0, 4).map(float)


@given(st.lists(st.tuples(FEW, FEW), min_size=1, max_size=12))
def test_the_frontier_is_what_nothing_beats(points: list[tuple[float, float]]) -> None:
    found = [points[place] for place in frontier(points, "cost_total", "hours_total")]
    beaten = {
        one
        for one in points
        for other in points
        if other != one and other[0] <= one[0] and other[1] <= one[1]
    }
    assert found == sorted(point for point in points if point not in beaten)


def test_a_frontier_heeds_what_is_better() -> None:
    points = [(1.0, 0.9), (2.0, 0.8), (3.0, 0.95)]
    assert frontier(points, "cost_total", "accuracy") == [0, 2]
    assert frontier(points, "cost_total", "loss") == [0, 1]


def test_keys_that_do_not_count_are_judged_together() -> None:
    slow = {"8": 1.0, "16": 3.0}
    rows = [
        replace(row, combination={"learners": learners, "slow": text})
        for learners, other in slow.items()
        for text, row in (("no", run(8, hours_total=2.0)), ("yes", run(8, hours_total=other)))
    ]
    alone = choose(rows, [], "hours_total").will_do
    assert [one.combination["slow"] for one in alone] == ["yes", "no", "no", "yes"]
    together = choose(rows, [], "hours_total", ["slow"]).will_do
    assert [one.combination for one in together] == [{"learners": "8"}, {"learners": "16"}]
    assert together[0].mean("hours_total") == 1.5
    bound = Bound.parse("hours_total=2", at_least=False)
    assert len(choose(rows, [bound], "hours_total", ["slow"]).will_do) == 1


@pytest.mark.parametrize(
    ("rows", "bounds", "said"),
    [
        (
            [run(2, 1, hours_total=4.0), run(2, 2, hours_total=5.5)],
            ["hours_total<5"],
            "no combination is within hours_total <= 5: hours_total comes to 5.5 with learners=2",
        ),
        ([run(2, hours_total=8.004)], ["hours_total<8"], "hours_total comes to 8.004"),
        ([run(2, accuracy=0.5)], ["accuracy>0.9"], "accuracy >= 0.9: accuracy comes to 0.5 with"),
        (
            [run(2, hours_total=2.0, cost_total=20.0), run(4, hours_total=9.0, cost_total=9.0)],
            ["hours_total<3", "cost_total<10"],
            "each can be kept, but not all by one",
        ),
        ([failed(2), failed(4)], ["hours_total<3"], "all runs failed"),
        ([run(2), failed(2, 2)], ["hours_total<9"], "every combination has a run that failed"),
        ([run(2)], ["cost_total<9"], "no run has cost_total, so none is best. Say what a server"),
    ],
)
def test_why_nothing_will_do_is_told(rows: list[Row], bounds: list[str], said: str) -> None:
    found = choice(rows, None, *bounds)
    assert found.will_do == ()
    assert said in nothing_will_do(found)


def test_how_many_are_as_good_is_told() -> None:
    alike = [run(2, hours_total=1.0), run(4, hours_total=1.0), run(8, hours_total=2.0)]
    assert told(choice(alike, None)) == (
        "best by hours_total: learners=2 (hours_total 1.000), as good as 1 other"
    )
    seeds_alone = [replace(run(2, hours_total=1.0), combination={"seed": "1"})]
    assert "best by hours_total: all runs (" in told(choice(seeds_alone, None))
    exactly = choice(alike, None, "hours_total<1234567.8")
    assert "within hours_total <= 1234567.8:" in told(exactly)
