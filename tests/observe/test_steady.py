"""When the rate of a run is known well enough."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Iterator

import pytest
from scipy.special import stdtrit

from dualrt.observe.steady import (
    BATCHES,
    ROUNDS,
    STUDENT_T,
    UPDATES,
    Rate,
    Steadiness,
    half_width,
)
from tests.observe.examples import update

FIRST_LOOK = BATCHES * UPDATES
"""Of one learner, whose updates are rounds."""


def watched(durations_s: Iterable[float], percent: float = 0.5) -> Steadiness:
    """Who has seen these updates, one after another, until it had seen enough."""
    calls = 0

    def enough() -> None:
        nonlocal calls
        calls += 1

    steadiness = Steadiness(1, percent, enough)
    for now_s in itertools.accumulate(durations_s):
        steadiness.update(now_s, update())
        if steadiness.reached:
            break
    assert calls == steadiness.reached
    return steadiness


def jitter(seed: int, shape: float = 400.0) -> Iterator[float]:
    """For ever: independent, mean 1 s, by default 5 % about it."""
    draw = random.Random(seed)
    while True:
        yield draw.gammavariate(shape, 1 / shape)


def lasting(seed: int, memory: float) -> Iterator[float]:
    """For ever: mean 1 s, and each remembers the one before."""
    draw, apart = random.Random(seed), 0.0
    while True:
        apart = memory * apart + draw.gauss(0, 0.01)
        yield 1 + apart


@pytest.mark.parametrize("batches", STUDENT_T)
def test_the_table_is_students(batches: int) -> None:
    assert STUDENT_T[batches] == pytest.approx(stdtrit(batches - 1, 0.975), rel=1e-7)


def test_updates_at_one_pace_are_steady_at_the_first_look() -> None:
    rate = watched(itertools.repeat(0.25)).rate
    assert rate is not None
    assert rate.seconds_per_update == pytest.approx(0.25)
    assert rate.ci_percent < 1e-9
    assert (rate.updates, rate.time_s) == (FIRST_LOOK, FIRST_LOOK * 0.25)


def test_many_learners_are_watched_for_a_few_rounds_and_few_for_more() -> None:
    looks = []
    for learners in (1, UPDATES // ROUNDS, 64):
        steadiness = Steadiness(learners, 0.5, lambda: None)
        step = 0
        while not steadiness.reached:
            step += 1
            steadiness.update(float(step), update())
        looks.append(step)
    assert looks == [FIRST_LOOK, FIRST_LOOK, BATCHES * ROUNDS * 64]


def test_it_calls_once_however_long_it_is_told_of_updates() -> None:
    calls: list[None] = []
    steadiness = Steadiness(1, 0.5, lambda: calls.append(None))
    for step in range(8 * FIRST_LOOK):
        steadiness.update(float(step), update())
    assert len(calls) == 1


def test_a_slow_start_does_not_count() -> None:
    start = [3.0] * (FIRST_LOOK // 4)
    rate = watched([*start, *[1.0] * FIRST_LOOK]).rate
    assert rate is not None
    assert rate.seconds_per_update == 1.0
    assert rate.whole_s(10 * FIRST_LOOK) == pytest.approx(sum(start) + 9.75 * FIRST_LOOK)


@pytest.mark.parametrize("memory", [0.0, 0.9])
def test_the_interval_mostly_holds_the_mean(memory: float) -> None:
    """At 95 % for each, fewer than 85 of 100 is an accident of one in 20,000."""
    rates = [watched(lasting(seed, memory), percent=1.5).rate for seed in range(100)]
    held = [abs(rate.seconds_per_update - 1) <= rate.ci_percent / 100 for rate in rates if rate]
    assert len(held) == 100
    assert sum(held) >= 85


def test_a_wide_interval_takes_a_longer_run() -> None:
    updates = []
    for percent in (2.0, 0.5, 0.25):
        rate = watched(jitter(1, shape=25.0), percent).rate
        assert rate is not None
        assert rate.ci_percent < percent
        updates.append(rate.updates)
    assert updates[0] == FIRST_LOOK
    assert updates[0] < updates[1] < updates[2]


def test_batches_that_hang_together_widen_the_interval() -> None:
    rising = [float(batch) for batch in range(24)]
    mixed = random.Random(1).sample(rising, 24)
    assert half_width(rising) > 1.3 * half_width(mixed)


def test_a_run_that_ends_too_early_says_what_it_knows() -> None:
    early = watched(itertools.islice(jitter(1), FIRST_LOOK - 1))
    assert (early.reached, early.rate) == (False, None)
    unsure = watched(itertools.islice(jitter(1), 2 * FIRST_LOOK), percent=1e-6)
    assert not unsure.reached
    assert isinstance(unsure.rate, Rate)
    assert unsure.rate.ci_percent > 1e-6


def test_updates_at_one_instant_have_no_rate() -> None:
    assert watched(itertools.repeat(0.0, 2 * FIRST_LOOK)).rate is None
