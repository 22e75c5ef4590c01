"""The picture of a sweep."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dualrt.core.errors import UsageError
from dualrt.sweep import Axis, Row
from dualrt.sweep.plot import draw, lines_of
from dualrt.sweep.rows import check_figure
from tests.sweep.examples import FIGURES

AXES = [
    Axis.parse("learners=2,4,32"),
    Axis.parse("algorithm.name=ssgd,adpsgd"),
    Axis.parse("seed=1,2"),
]


def rows() -> list[Row]:
    """The loss is 10 x learners + seed; adpsgd's is 100 more."""
    return [
        Row(
            {"learners": learners, "algorithm.name": name, "seed": seed},
            "s",
            replace(FIGURES, loss=10.0 * int(learners) + int(seed) + 100 * (name == "adpsgd")),
        )
        for learners in AXES[0].texts
        for name in AXES[1].texts
        for seed in AXES[2].texts
    ]


def test_lines_run_along_the_first_key_with_all_seeds_at_each_point() -> None:
    first, second = lines_of(rows(), AXES, "loss")
    assert first.label == "algorithm.name=ssgd"
    assert first.points == (("2", (21.0, 22.0)), ("4", (41.0, 42.0)), ("32", (321.0, 322.0)))
    assert second.points[0] == ("2", (121.0, 122.0))


def test_runs_that_failed_or_have_no_such_figure_are_left_out() -> None:
    some = rows()
    some[0] = Row(some[0].combination, "s", None, "it failed")
    some[4] = replace(some[4], figures=replace(FIGURES, loss=None))
    some[5] = replace(some[5], figures=replace(FIGURES, loss=None))
    first, _ = lines_of(some, AXES, "loss")
    assert first.points == (("2", (22.0,)), ("32", (321.0, 322.0)))


def test_seeds_along_the_axis_are_values_like_others() -> None:
    axes = [AXES[2], AXES[0], AXES[1]]
    lines = lines_of(rows(), axes, "loss")
    assert len(lines) == 6
    assert lines[0].label == "learners=2, algorithm.name=ssgd"
    assert lines[0].points == (("1", (21.0,)), ("2", (22.0,)))


@pytest.mark.parametrize("first", [0, 1], ids=["numbers", "names"])
@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_equal_rows_give_equal_files(tmp_path: Path, suffix: str, first: int) -> None:
    axes = [AXES[first], *(axis for axis in AXES if axis is not AXES[first])]
    files = [tmp_path / f"{number}{suffix}" for number in range(2)]
    for file in files:
        draw(file, rows(), axes, None, "A sweep")
    assert files[0].read_bytes() == files[1].read_bytes()
    if suffix == ".svg":
        text = files[0].read_text()
        assert f"loss over {axes[0].key}" in text
        assert axes[0].texts[-1] in text


def test_a_figure_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Known are loss"):
        check_figure("--y", "timing_digest")
    with pytest.raises(UsageError, match="no run has that figure"):
        draw(tmp_path / "a.png", rows(), AXES, "accuracy", "A sweep")
