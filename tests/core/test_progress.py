"""Epochs, learning rates and the agreed end follow from counts of updates."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualrt.core.progress import Constant, Progress, WarmupAnneal

PAPER = WarmupAnneal(base=0.1, peak=1.0)


@pytest.mark.parametrize(
    ("epoch", "rate"), [(0.0, 0.1), (0.99, 0.1), (1.0, 0.2), (8.5, 0.9), (9.0, 1.0)]
)
def test_the_papers_warm_up_rises_by_whole_epochs(epoch: float, rate: float) -> None:
    """1907.05701: B = 2560 runs at 0.1, 0.2 ... 1.0 in epochs 1 to 10."""
    assert PAPER(epoch) == pytest.approx(rate)


def test_after_the_warm_up_each_epoch_divides_by_the_root_of_two() -> None:
    assert PAPER(10.0) == pytest.approx(1 / math.sqrt(2))
    assert PAPER(15.9) == pytest.approx(2**-3)


def test_a_schedule_may_start_at_its_peak() -> None:
    assert WarmupAnneal(base=0.1, peak=1.0, warmup_epochs=1)(0.0) == 1.0


def test_a_run_ends_when_the_pool_was_drawn_so_many_times() -> None:
    progress = Progress(2, samples_per_epoch=100, samples_per_update=8, schedule=Constant(0.1))
    assert progress.updates == 25
    assert not progress.finished(24)
    assert progress.finished(25)


@given(st.floats(0.01, 100), st.integers(1, 10**7), st.integers(1, 10**4))
def test_the_end_is_the_first_count_at_which_the_pool_is_done(
    epochs: float, pool: int, batch: int
) -> None:
    progress = Progress(epochs, pool, batch, Constant(0.1))
    assert progress.epoch(progress.updates) >= epochs * (1 - 1e-6)
    assert progress.updates == 1 or progress.epoch(progress.updates - 1) < epochs
