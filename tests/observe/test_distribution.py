"""Counts of integers, and the figures that follow."""

from __future__ import annotations

import random
from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualrt.observe.distribution import Distribution

values = st.lists(st.integers(-5, 60), max_size=200)
some_values = st.lists(st.integers(-5, 60), min_size=1, max_size=200)


def distribution(observations: Iterable[int]) -> Distribution:
    counted = Distribution()
    for value in observations:
        counted.add(value)
    return counted


@given(some_values)
def test_mean_and_max_are_those_of_the_observations(observations: list[int]) -> None:
    counted = distribution(observations)
    assert counted.total == len(observations)
    assert counted.mean == sum(observations) / len(observations)
    assert counted.max == max(observations)


@given(some_values, st.sampled_from([0, 25, 50, 75, 100]))
def test_percentiles_are_numpys(observations: list[int], percent: int) -> None:
    # These fractions are exact in binary, so that numpy's rounding cannot choose a neighbour.
    expected = np.percentile(observations, percent, method="inverted_cdf")
    assert distribution(observations).percentile(percent) == expected


@given(some_values, st.integers(1, 100))
def test_a_percentile_is_the_least_value_that_enough_observations_do_not_exceed(
    observations: list[int], percent: int
) -> None:
    found = distribution(observations).percentile(percent)
    assert found is not None
    assert 100 * sum(value <= found for value in observations) >= percent * len(observations)
    assert 100 * sum(value < found for value in observations) < percent * len(observations)


def test_the_99th_percentile_of_700_leaves_out_seven() -> None:
    """0.99 * 700 is above 693 in floating point, which must not take one more."""
    assert distribution([0] * 693 + [1] * 7).percentile(99) == 0
    assert distribution([0] * 692 + [1] * 8).percentile(99) == 1


@pytest.mark.parametrize("percent", [0, 50, 100])
def test_nothing_has_no_figures(percent: int) -> None:
    empty = Distribution()
    assert empty.percentile(percent) is None
    assert (empty.mean, empty.max, empty.total) == (None, None, 0)


@given(st.lists(values, max_size=5), st.randoms(use_true_random=False))
def test_parts_merge_in_any_order(parts: list[list[int]], order: random.Random) -> None:
    whole = distribution(value for part in parts for value in part)
    merged = Distribution()
    for part in sorted(parts, key=lambda _: order.random()):
        merged.merge(distribution(part))
    assert merged.counts() == whole.counts()


@given(values)
def test_counts_rebuild_the_distribution(observations: list[int]) -> None:
    counts = distribution(observations).counts()
    assert Distribution(counts).counts() == counts == sorted(counts)
