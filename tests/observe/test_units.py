"""Numbers as people read them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualrt.observe import units


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (1.2345, "1.23"),
        (9.996, "10.0"),
        (99.96, "100"),
        (0.012345, "0.0123"),
        (12345.6, "12,346"),
        (-1.5, "-1.50"),
        (float("inf"), "inf"),
        (float("nan"), "nan"),
    ],
)
def test_three_digits_are_significant(value: float, text: str) -> None:
    assert units.significant(value) == text


@given(st.floats(1e-9, 1e9))
def test_what_is_shown_is_within_half_a_digit(value: float) -> None:
    assert float(units.significant(value).replace(",", "")) == pytest.approx(value, rel=0.005)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 s"),
        (5400, "5,400 s"),
        (1.234, "1.23 s"),
        (0.015, "15.0 ms"),
        (2e-6, "2.00 µs"),
        (3e-9, "3.00 ns"),
    ],
)
def test_seconds_choose_their_prefix(value: float, text: str) -> None:
    assert units.seconds(value) == text


def test_a_toys_hours_are_seconds() -> None:
    assert units.hours(5.2) == "5.20 h"
    assert units.hours(0.001) == "3.60 s"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0 B"), (999, "999 B"), (1e3, "1.00 kB"), (164.62e6, "165 MB"), (7.9e11, "790 GB")],
)
def test_sizes_have_decimal_prefixes(value: float, text: str) -> None:
    assert units.size(value) == text


def test_the_rest_reads_well_too() -> None:
    assert units.percent(0.8421) == "84.2 %"
    assert units.count(12345) == "12,345"
    assert units.rate(123.4) == "123 /s"
    assert units.factor(39.84) == "39.8×"


@pytest.mark.parametrize(
    "show",
    [
        units.significant,
        units.seconds,
        units.hours,
        units.size,
        units.percent,
        units.count,
        units.rate,
        units.factor,
    ],
)
def test_what_is_unknown_is_a_dash(show: Callable[[Any], str]) -> None:
    assert show(None) == "–"
