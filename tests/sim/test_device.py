"""The device: profiles, roofline, jitter and slow periods."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from itertools import pairwise
from statistics import fmean, pstdev
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualrt.core.effects import Cost
from dualrt.core.errors import UsageError
from dualrt.core.faults import Slowdown
from dualrt.sim.device import (
    P100,
    V100,
    V100_POWER9,
    Company,
    Device,
    DeviceSpec,
    Profile,
    described,
)
from dualrt.sim.slowness import SlowPeriods

SPEC = DeviceSpec(
    flops_per_s=1e12,
    memory_bytes_per_s=1e11,
    launch_s=0.5,
    profiles={"gradient": ((10, 2.0), (20, 3.0), (40, 7.0))},
)


def device(spec: DeviceSpec, *slowdowns: Slowdown, seed: int = 0) -> Device:
    return Device(spec, random.Random(seed), np.random.default_rng(seed), slowdowns)


def seconds(samples: int, spec: DeviceSpec = SPEC) -> float:
    return device(spec).duration_s(Cost("gradient", samples=samples), 0.0)


def with_profile(profile: Profile) -> DeviceSpec:
    return replace(SPEC, profiles={"gradient": profile})


def test_a_profile_is_met_at_its_points_and_linear_between() -> None:
    assert [seconds(samples) for samples in (10, 15, 20, 30, 40)] == [2.0, 2.5, 3.0, 5.0, 7.0]


def test_above_the_last_point_the_last_slope_goes_on() -> None:
    assert seconds(60) == 11.0


def test_below_the_first_point_the_first_slope_goes_on() -> None:
    assert seconds(5) == 1.5
    assert seconds(0) == 1.0


def test_below_the_first_point_a_steep_profile_falls_to_the_launch_and_not_below() -> None:
    steep = with_profile(((10, 2.5), (20, 12.5)))
    assert seconds(5, steep) == 1.5
    assert seconds(0, steep) == 0.5


def test_a_profile_of_one_point_is_a_line_from_the_launch() -> None:
    single = with_profile(((10, 2.5),))
    assert [seconds(samples, single) for samples in (0, 10, 20)] == [0.5, 2.5, 4.5]


@given(
    st.lists(st.tuples(st.integers(1, 100), st.floats(0.01, 10)), min_size=1, max_size=5),
    st.floats(0, 1),
)
def test_more_samples_never_take_less_time_on_a_rising_profile(
    steps: list[tuple[int, float]], launch_s: float
) -> None:
    samples, time_s, points = 0, launch_s, []
    for more, longer_s in steps:
        samples, time_s = samples + more, time_s + longer_s
        points.append((samples, time_s))
    spec = replace(with_profile(tuple(points)), launch_s=launch_s)
    times_s = [seconds(count, spec) for count in range(samples + 50)]
    assert all(a <= b * (1 + 1e-12) for a, b in pairwise(times_s))
    assert times_s[0] >= launch_s


def test_without_a_profile_the_slower_of_arithmetic_and_memory_counts() -> None:
    one = device(SPEC)
    assert one.duration_s(Cost("blend", flops=3e12, bytes_moved=10**11), 0.0) == 3.5
    assert one.duration_s(Cost("blend", flops=3e12, bytes_moved=4 * 10**11), 0.0) == 4.5


def test_a_profile_serves_its_own_kind_only() -> None:
    assert device(SPEC).duration_s(Cost("update", samples=10), 0.0) == SPEC.launch_s


def test_fixed_jitter_is_drawn_once_a_device() -> None:
    spec = replace(SPEC, device_sigma=0.1)
    cost = Cost("gradient", samples=10)
    one, other = device(spec, seed=1), device(spec, seed=2)
    assert len({one.duration_s(cost, float(step)) for step in range(5)}) == 1
    assert one.duration_s(cost, 0.0) != other.duration_s(cost, 0.0)
    assert one.duration_s(cost, 0.0) == device(spec, seed=1).duration_s(cost, 0.0)


def test_fixed_jitter_is_lognormal_with_mean_one() -> None:
    spec = replace(SPEC, device_sigma=0.2)
    factors = [
        device(spec, seed=seed).duration_s(Cost("gradient", samples=10), 0.0) / 2.0
        for seed in range(4000)
    ]
    assert fmean(factors) == pytest.approx(1.0, abs=0.02)
    assert pstdev([math.log(factor) for factor in factors]) == pytest.approx(0.2, rel=0.05)


def test_step_jitter_has_mean_one_and_the_variation_asked_for() -> None:
    one = device(replace(SPEC, step_cv=0.3))
    factors = [one.duration_s(Cost("gradient", samples=10), 0.0) / 2.0 for _ in range(8000)]
    assert fmean(factors) == pytest.approx(1.0, abs=0.02)
    assert pstdev(factors) == pytest.approx(0.3, rel=0.05)


def recorded(*factors: float) -> DeviceSpec:
    return replace(SPEC, step_cv=0.5, step_factors={"gradient": factors})


def test_recorded_factors_are_replayed_in_order_and_over_and_over() -> None:
    factors = (1.0, 0.5, 2.0, 0.75)
    one = device(recorded(*factors))
    cost = Cost("gradient", samples=10)
    seen = [one.duration_s(cost, 0.0) / 2.0 for _ in range(2 * len(factors))]
    place = factors.index(seen[0])
    assert seen == [*factors[place:], *factors, *factors[:place]]


def test_devices_replay_from_places_of_their_own() -> None:
    spec = recorded(*(1 + step / 100 for step in range(100)))
    cost = Cost("gradient", samples=10)
    assert len({device(spec, seed=seed).duration_s(cost, 0.0) for seed in range(20)}) > 10


def test_kinds_that_were_not_recorded_keep_drawing() -> None:
    one = device(recorded(1.0))
    draws = {one.duration_s(Cost("update", flops=1e12), 0.0) for _ in range(5)}
    assert len(draws) == 5


@pytest.mark.parametrize(
    ("spec", "slowdowns"),
    [
        (SPEC, ()),
        (replace(SPEC, step_cv=0.3, device_sigma=0.2), ()),
        (replace(SPEC, step_cv=0.3, step_factors={"gradient": (0.5, 1.5, 1.0)}), ()),
        (replace(SPEC, step_cv=0.3), (Slowdown(2.0, 5.0, 400.0),)),
    ],
)
def test_a_company_takes_as_long_as_each_of_it_alone(
    spec: DeviceSpec, slowdowns: tuple[Slowdown, ...]
) -> None:
    alone, together = ([device(spec, *slowdowns, seed=seed) for seed in range(3)] for _ in range(2))
    company, starts_s = Company(together), np.array([0.0, 1.0, 2.0])
    for step in range(300):
        cost = Cost("gradient", samples=10) if step % 3 else Cost("update", bytes_moved=10**9)
        durations_s = company.durations_s(cost, starts_s)
        each_s = zip(alone, starts_s.tolist(), strict=True)
        assert durations_s.tolist() == [one.duration_s(cost, start_s) for one, start_s in each_s]
        starts_s = starts_s + durations_s


def test_slow_periods_stretch_computations() -> None:
    periods = SlowPeriods(factor=4.0, mean_s=1e9, mean_between_s=1e-9)
    slow = Device(
        replace(SPEC, slow_periods=periods),
        random.Random(0),
        np.random.default_rng(0),
        (),
        random.Random(0),
    )
    assert slow.duration_s(Cost("gradient", samples=10), 1.0) == pytest.approx(8.0)


def test_a_description_names_a_device_or_gives_figures_or_lays_these_over_that() -> None:
    periods = {"factor": 2.0, "mean_s": 1.0, "mean_between_s": 9.0, "scope": "server"}
    own = described({"flops_per_s": 1.0, "memory_bytes_per_s": 2.0, "slow_periods": periods})
    assert own.slow_periods == SlowPeriods(
        factor=2.0, mean_s=1.0, mean_between_s=9.0, scope="server"
    )
    assert described({"name": "P100", "interference": 0.2}) == replace(P100, interference=0.2)
    with pytest.raises(UsageError, match=r"name = 'K80': no device .* Known are P100"):
        described({"name": "K80"})


def test_streams_are_left_alone_where_there_is_no_jitter() -> None:
    fixed, steps = random.Random(1), np.random.default_rng(2)
    before = fixed.getstate(), steps.bit_generator.state
    Device(SPEC, fixed, steps).duration_s(Cost("gradient", samples=10), 0.0)
    assert (fixed.getstate(), steps.bit_generator.state) == before


def test_a_permanent_straggler_is_slow_by_its_factor_from_its_start_on() -> None:
    slow = device(SPEC, Slowdown(100.0, math.inf, 10.0))
    cost = Cost("gradient", samples=10)
    assert slow.duration_s(cost, 50.0) == 2.0
    assert slow.duration_s(cost, 100.0) == 20.0
    assert slow.duration_s(cost, 1e6) == 20.0


def test_a_step_is_slow_only_while_the_slow_period_lasts() -> None:
    slow = device(SPEC, Slowdown(1.0, 3.0, 4.0))
    cost = Cost("gradient", samples=10)
    # One second at full speed, two at a quarter, and the half second that is left.
    assert slow.duration_s(cost, 0.0) == 3.5
    assert slow.duration_s(cost, 2.0) == 2.75
    assert slow.duration_s(cost, 3.0) == 2.0


def test_overlapping_slow_periods_multiply() -> None:
    slow = device(SPEC, Slowdown(0.0, math.inf, 2.0), Slowdown(10.0, 1000.0, 3.0))
    cost = Cost("gradient", samples=10)
    assert slow.duration_s(cost, 0.0) == 4.0
    assert slow.duration_s(cost, 100.0) == 12.0
    assert slow.duration_s(cost, 1000.0) == 4.0


@given(
    st.lists(
        st.builds(
            lambda start_s, length_s, factor: Slowdown(start_s, start_s + length_s, factor),
            st.floats(0, 20),
            st.floats(0.1, 10),
            st.floats(0.5, 8),
        ),
        max_size=4,
    ),
    st.floats(0, 30),
)
def test_two_halves_one_after_the_other_take_as_long_as_the_whole(
    slowdowns: list[Slowdown], now_s: float
) -> None:
    slow = device(with_profile(((1, 1.0), (2, 2.0))), *slowdowns)
    whole_s = slow.duration_s(Cost("gradient", samples=2), now_s)
    half_s = slow.duration_s(Cost("gradient", samples=1), now_s)
    rest_s = slow.duration_s(Cost("gradient", samples=1), now_s + half_s)
    assert whole_s == pytest.approx(half_s + rest_s)


@pytest.mark.parametrize(
    ("spec", "points"),
    [
        (P100, {32: 0.066, 160: 0.171, 256: 0.248}),
        (V100, {80: 0.110, 128: 0.184}),
        (V100_POWER9, {128: 0.110, 256: 0.179, 512: 0.296}),
    ],
    ids=["P100", "V100", "V100_POWER9"],
)
def test_known_devices_take_the_seconds_that_were_published(
    spec: DeviceSpec, points: dict[int, float]
) -> None:
    for samples, published_s in points.items():
        assert seconds(samples, spec) == pytest.approx(published_s, abs=1e-3)


@pytest.mark.parametrize("step_cv", [1e-200, 1e-17])
def test_a_spread_that_moves_no_bit_is_none(step_cv: float) -> None:
    spec = replace(SPEC, step_cv=step_cv)
    assert seconds(8, spec) == seconds(8, replace(SPEC, step_cv=0.0))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("flops_per_s", 0.0),
        ("memory_bytes_per_s", -1.0),
        ("launch_s", -1.0),
        ("step_cv", math.nan),
        ("interference", -0.1),
    ],
)
def test_a_number_that_cannot_be_is_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(UsageError, match=f"device: {field} = "):
        replace(SPEC, **{field: value})


@pytest.mark.parametrize(
    "profile", [(), ((10, 0.0),), ((0, 1.0),), ((20, 1.0), (10, 2.0)), ((10, 1.0), (10, 2.0))]
)
def test_a_profile_that_cannot_be_is_refused(profile: Profile) -> None:
    with pytest.raises(UsageError, match="profile 'gradient'"):
        with_profile(profile)


@pytest.mark.parametrize("factors", [(), (1.0, 0.0), (math.inf,)])
def test_recorded_factors_that_cannot_be_are_refused(factors: tuple[float, ...]) -> None:
    with pytest.raises(UsageError, match="step_factors 'gradient'"):
        recorded(*factors)


@pytest.mark.parametrize(
    "slow", [Slowdown(2.0, 1.0, 2.0), Slowdown(0.0, 1.0, 0.0), Slowdown(0.0, 1.0, math.inf)]
)
def test_a_slow_period_that_cannot_be_is_refused(slow: Slowdown) -> None:
    with pytest.raises(UsageError, match="factor"):
        device(SPEC, slow)
