"""The course of a run in a bounded number of points."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualrt.core.errors import RunError
from dualrt.observe import curve as module
from dualrt.observe.curve import LIMIT, Curve

Sample = tuple[float, float]

samples = st.lists(st.tuples(st.floats(0, 1e5), st.floats(0.0, 10.0)), max_size=60)


def drawn(points: Sequence[Sample]) -> Curve:
    curve = Curve()
    for time_s, loss in points:
        curve.add(time_s, time_s / 100, loss, 8)
    return curve


def losses(curve: Curve) -> list[float | None]:
    return [point.loss for point in curve.points()]


def test_few_updates_are_all_kept() -> None:
    points = drawn([(0.25, 3.0), (0.5, 2.0), (0.75, 1.0)]).points()
    assert [(p.time_s, p.epoch, p.loss, p.samples) for p in points] == [
        (0.25, 0.0025, 3.0, 8),
        (0.5, 0.005, 2.0, 8),
        (0.75, 0.0075, 1.0, 8),
    ]


def test_a_long_run_stays_within_the_limit_and_keeps_its_totals() -> None:
    points = drawn([(0.01 * number, float(number % 7)) for number in range(20_000)]).points()
    assert LIMIT / 2 < len(points) <= LIMIT
    assert sum(point.samples for point in points) == 8 * 20_000
    assert [point.time_s for point in points] == sorted(point.time_s for point in points)


def test_a_point_is_the_mean_of_its_bin() -> None:
    with patch.object(module, "LIMIT", 1):
        (point,) = drawn([(0.0, 1.0), (1.0, 2.0), (3.5, 6.0)]).points()
    assert (point.time_s, point.loss) == (1.5, 3.0)
    assert point.epoch == pytest.approx(0.015)


@given(samples)
def test_the_width_does_not_depend_on_the_order_of_updates(points: list[Sample]) -> None:
    with patch.object(module, "LIMIT", 8):
        forth, back = drawn(points), drawn(points[::-1])
        assert forth.exponent == back.exponent
        assert [(b.index, b.updates) for b in forth.bins()] == [
            (b.index, b.updates) for b in back.bins()
        ]


@given(samples, st.integers(0, 60), st.booleans())
def test_parts_merge_into_the_curve_of_the_whole(
    points: list[Sample], cut: int, swapped: bool
) -> None:
    parts = [points[:cut], points[cut:]]
    if swapped:
        parts.reverse()
    with patch.object(module, "LIMIT", 8):
        whole = drawn(points)
        merged, other = map(drawn, parts)
        before = other.points()
        merged.merge(other)
        assert merged.exponent == whole.exponent
        assert [(b.index, b.updates, b.samples) for b in merged.bins()] == [
            (b.index, b.updates, b.samples) for b in whole.bins()
        ]
        assert losses(merged) == pytest.approx(losses(whole))
        assert other.points() == before, "the other curve is not changed"


def test_no_loss_is_no_point_on_the_loss_curve_but_one_on_the_course() -> None:
    curve = Curve()
    curve.add(1.0, 0.1, None, 8)
    assert losses(curve) == [None]
    assert curve.points()[0].samples == 8
    assert curve.recent_loss() is None


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_shows_where_it_happened_and_only_there(loss: float) -> None:
    curve = drawn([(1.0, 2.0), (2.0, loss), (3.0, 4.0)])
    before, there, after = losses(curve)
    assert (before, after) == (2.0, 4.0)
    assert there is not None
    assert math.isnan(there)
    assert all(math.isfinite(one.loss) for one in curve.bins()), "sums go into files"


def test_the_recent_loss_is_the_mean_of_the_last_twentieth() -> None:
    assert drawn([(float(t), 1.0 if t < 95 else 3.0) for t in range(100)]).recent_loss() == 3.0
    assert drawn([(float(t), float(t)) for t in range(10)]).recent_loss() == 9.0


def test_the_recent_loss_of_a_run_that_diverged_is_not_a_number() -> None:
    recent = drawn([(float(t), 1.0 if t < 99 else math.inf) for t in range(100)]).recent_loss()
    assert recent is not None
    assert math.isnan(recent)


def test_a_merged_curve_can_go_on() -> None:
    order = random.Random(1)
    points = [(order.uniform(0, 50), order.random()) for _ in range(3_000)]
    merged = drawn(points[:1_000])
    merged.merge(drawn(points[1_000:2_000]))
    for time_s, loss in points[2_000:]:
        merged.add(time_s, time_s / 100, loss, 8)
    assert merged.exponent == drawn(points).exponent


@pytest.mark.parametrize("time_s", [math.inf, math.nan])
def test_what_is_no_time_is_an_error_that_says_where_to_look(time_s: float) -> None:
    with pytest.raises(RunError, match=f"comes at {time_s} s.*flops_per_sample.*faults"):
        Curve().add(time_s, 0.0, None, 1)
