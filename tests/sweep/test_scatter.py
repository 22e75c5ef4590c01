"""The picture of one figure against another."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dualrt.core.errors import UsageError
from dualrt.sweep import Row
from dualrt.sweep.choice import Bound
from dualrt.sweep.scatter import Point, draw, points_of
from tests.sweep.examples import FIGURES

HOURS = {"ssgd": (8, 20.0), "sgp": (16, 10.0), "adpsgd": (32, 9.0)}
"""Of each algorithm: servers, and how long it takes."""

ROWS = [
    Row(
        {"topology.graph": graph, "algorithm.name": name, "seed": seed},
        "s",
        replace(FIGURES, hours_total=hours + int(seed), cost_total=price * hours * servers),
    )
    for graph, price in (("ring", 1.0), ("complete", 2.0))
    for name, (servers, hours) in HOURS.items()
    for seed in ("1", "3")
]


def test_a_point_is_a_mean_over_seeds() -> None:
    points = points_of(ROWS, "hours_total", "cost_total")
    assert points[0] == Point("topology.graph=ring", "ssgd", (22.0, 160.0))
    assert [point.label for point in points] == [*HOURS] * 2


def test_what_failed_is_left_out() -> None:
    some = [Row(ROWS[0].combination, "s", None, "it failed"), *ROWS[1:]]
    assert len(points_of(some, "hours_total", "cost_total")) == 5


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_equal_rows_give_equal_files(tmp_path: Path, suffix: str) -> None:
    bounds = [Bound.parse("hours_total=12", at_least=False), Bound.parse("loss=1", at_least=False)]
    files = [tmp_path / f"{number}{suffix}" for number in range(2)]
    for file in files:
        draw(file, ROWS, "hours_total", "cost_total", bounds, "A sweep")
    assert files[0].read_bytes() == files[1].read_bytes()
    if suffix == ".svg":
        text = files[0].read_text()
        assert "topology.graph=complete" in text
        # On the ring; the first of the three costs as much as the second, and takes longer.
        assert [text.count(f"<!-- {name} -->") for name in HOURS] == [0, 1, 1]
        assert "hours_total &lt;= 12" in text
        assert "loss &lt;= 1" not in text


def test_a_sweep_of_seeds_alone_is_one_point(tmp_path: Path) -> None:
    seeds = [replace(row, combination={"seed": row.combination["seed"]}) for row in ROWS[:2]]
    draw(tmp_path / "a.svg", seeds, "hours_total", "cost_total", (), "A sweep")
    assert "all runs" in (tmp_path / "a.svg").read_text()


def test_equal_points_have_one_label_with_all_their_names(tmp_path: Path) -> None:
    alike = [replace(row, figures=ROWS[0].figures) for row in ROWS]
    draw(tmp_path / "a.svg", alike, "hours_total", "cost_total", (), "A sweep")
    assert "ssgd = sgp = adpsgd" in (tmp_path / "a.svg").read_text()


def test_what_decides_is_drawn_if_nothing_is_said(tmp_path: Path) -> None:
    draw(tmp_path / "a.svg", ROWS, "hours_total", None, (), "A sweep")
    assert "cost_total over hours_total" in (tmp_path / "a.svg").read_text()
    with pytest.raises(UsageError, match="--x cost_total: that is what is drawn over it"):
        draw(tmp_path / "a.svg", ROWS, "cost_total", None, (), "A sweep")


def test_figures_that_no_run_has_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--x accuracy --y loss: no run has both figures"):
        draw(tmp_path / "a.png", ROWS, "accuracy", "loss", (), "A sweep")
