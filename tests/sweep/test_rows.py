"""The spread of a figure over seeds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from dualrt.sweep.rows import Row, Spread, over_seeds
from tests.sweep.examples import FIGURES


def row(name: str, seed: int, **figures: Any) -> Row:
    combination = {"algorithm.name": name, "seed": str(seed)}
    return Row(combination, f"{name}/{seed}", replace(FIGURES, **figures))


def test_the_spread_is_of_the_error_where_there_is_one() -> None:
    rows = [
        row("ssgd", seed, accuracy=1 - error, error=error) for seed, error in ((1, 0.5), (2, 1.0))
    ]
    (spread,) = over_seeds(rows)
    assert spread == Spread({"algorithm.name": "ssgd"}, "error", 2, 0, 0.75, 0.5, 1.0)


def test_the_spread_is_of_the_loss_where_there_is_no_accuracy() -> None:
    rows = [row("a", 1, loss=1.0), row("b", 1, loss=5.0), row("a", 2, loss=3.0)]
    first, second = over_seeds(rows)
    assert first == Spread({"algorithm.name": "a"}, "loss", 2, 0, 2.0, 1.0, 3.0)
    assert (second.combination, second.mean) == ({"algorithm.name": "b"}, 5.0)


def test_runs_that_failed_or_diverged_are_counted_and_left_out() -> None:
    lost = Row({"algorithm.name": "a", "seed": "3"}, "a/3", None, "it failed")
    (spread,) = over_seeds([row("a", 1, loss=1.0), row("a", 2, loss=None), lost])
    assert (spread.seeds, spread.without) == (3, 2)
    assert (spread.mean, spread.min, spread.max) == (1.0, 1.0, 1.0)


def test_nothing_is_known_of_a_figure_that_no_run_has() -> None:
    (spread,) = over_seeds([row("a", 1, loss=None)])
    assert (spread.mean, spread.min, spread.max) == (None, None, None)
