"""When a device is slow: as asked for, and at random."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualrt.core.errors import UsageError
from dualrt.core.faults import Slowdown
from dualrt.sim.slowness import Slowness, SlowPeriods

PERIODS = SlowPeriods(factor=3.0, mean_s=2.0, mean_between_s=6.0)


def weather(seed: int, *slowdowns: Slowdown, periods: SlowPeriods = PERIODS) -> Slowness:
    return Slowness(slowdowns, periods, random.Random(seed))


def test_a_device_of_which_nothing_is_said_is_never_slow() -> None:
    assert not Slowness()
    assert Slowness().stretched_s(2.0, 5.0) == 2.0
    assert weather(1)


seconds = st.floats(0, 200)


@given(st.integers(0, 99), seconds, seconds)
def test_what_gets_done_in_the_time_that_work_takes_is_the_work(
    seed: int, work_s: float, now_s: float
) -> None:
    slowness = weather(seed, Slowdown(5.0, 50.0, 2.0), Slowdown(20.0, math.inf, 1.5))
    taken_s = slowness.stretched_s(work_s, now_s)
    assert work_s <= taken_s * (1 + 1e-12)
    assert taken_s <= 9 * work_s * (1 + 1e-12)
    assert slowness.done_s(now_s, now_s + taken_s) == pytest.approx(work_s, abs=1e-9)


@given(st.integers(0, 99), st.lists(seconds, min_size=2, max_size=5))
def test_the_weather_does_not_depend_on_when_one_looks(seed: int, times_s: list[float]) -> None:
    one, other = weather(seed), weather(seed)
    looked = {time_s: one.stretched_s(1.0, time_s) for time_s in times_s}
    assert looked == {time_s: other.stretched_s(1.0, time_s) for time_s in sorted(times_s)}


def test_devices_with_draws_of_their_own_have_weather_of_their_own() -> None:
    assert len({weather(seed).done_s(0.0, 100.0) for seed in range(10)}) == 10


def test_slow_periods_take_their_share_of_time_from_the_first_instant_on() -> None:
    slow = PERIODS.mean_s / (PERIODS.mean_s + PERIODS.mean_between_s)
    expected = 1 - slow + slow / PERIODS.factor
    assert weather(1).done_s(0.0, 40_000.0) / 40_000 == pytest.approx(expected, rel=0.01)
    at_once = [weather(seed).done_s(0.0, 1e-6) / 1e-6 for seed in range(4000)]
    assert sum(at_once) / len(at_once) == pytest.approx(expected, rel=0.02)


def test_random_periods_multiply_with_those_that_were_asked_for() -> None:
    sunny = replace(PERIODS, mean_between_s=1e9)
    always = replace(PERIODS, mean_s=1e9, mean_between_s=1e-9)
    straggler = Slowdown(0.0, math.inf, 2.0)
    assert weather(1, straggler, periods=sunny).stretched_s(1.0, 0.0) == 2.0
    assert weather(1, straggler, periods=always).stretched_s(1.0, 1.0) == pytest.approx(6.0)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("factor", 0.5),
        ("factor", math.inf),
        ("mean_s", 0.0),
        ("mean_between_s", -1.0),
        ("scope", "rack"),
    ],
)
def test_slow_periods_that_cannot_be_are_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(UsageError, match=rf"slow_periods\.{field} = "):
        replace(PERIODS, **{field: value})
