from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualrt.core.errors import UsageError
from dualrt.workloads.pool import Pool


def batches(pool: Pool, learners: int, numbers: range) -> list[list[int]]:
    """Batches by their number in the common sequence."""
    return [pool.indices(n % learners, n // learners).tolist() for n in numbers]


@given(
    size=st.integers(1, 60),
    batch=st.integers(1, 60),
    learners=st.integers(1, 5),
    seed=st.integers(),
)
def test_learners_together_draw_each_pass_without_repetition(
    size: int, batch: int, learners: int, seed: int
) -> None:
    batch = min(batch, size)
    per_pass = size // batch
    pool = Pool(size, batch, learners, seed)
    for pass_ in range(3):
        drawn = batches(pool, learners, range(pass_ * per_pass, (pass_ + 1) * per_pass))
        flat = [index for indices in drawn for index in indices]
        assert len(flat) == len(set(flat)) == pool.samples_per_pass
        assert set(flat) <= set(range(size))


def test_the_sequence_does_not_depend_on_the_number_of_learners() -> None:
    numbers = range(30)
    alone = batches(Pool(23, 4, 1, seed=5), 1, numbers)
    assert batches(Pool(23, 4, 3, seed=5), 3, numbers) == alone


def test_any_order_of_draws_gives_the_same_batches() -> None:
    numbers = range(40)
    forward = batches(Pool(10, 3, 2, seed=1), 2, numbers)
    pool = Pool(10, 3, 2, seed=1)
    backward = [batches(pool, 2, range(n, n + 1))[0] for n in reversed(numbers)]
    assert backward[::-1] == forward


def test_passes_and_seeds_differ_in_order() -> None:
    pool = Pool(100, 100, 1, seed=1)
    first, second = pool.indices(0, 0), pool.indices(0, 1)
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, Pool(100, 100, 1, seed=2).indices(0, 0))


def test_a_batch_has_the_asked_type_and_may_be_written_to() -> None:
    pool = Pool(10, 4, 1, seed=0)
    drawn = pool.indices(0, 0)
    assert drawn.dtype == np.int64
    assert drawn.shape == (4,)
    kept = drawn.copy()
    drawn[:] = -1
    assert np.array_equal(pool.indices(0, 0), kept)


@pytest.mark.parametrize("batch", [0, 11])
def test_a_batch_that_the_pool_cannot_fill_is_refused(batch: int) -> None:
    with pytest.raises(UsageError, match=rf"batch = {batch}: .* from 1 to 10"):
        Pool(10, batch, 1, seed=0)
