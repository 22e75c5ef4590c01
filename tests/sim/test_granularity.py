"""Granularity: how a model is cut into collectives."""

from __future__ import annotations

from typing import get_args

from hypothesis import given
from hypothesis import strategies as st

from dualrt.sim.granularity import Granularity, cut

TENSORS = (10, 40, 5, 25, 3)


def test_a_model_is_one_collective() -> None:
    assert cut(TENSORS, "model") == (83,)


def test_each_tensor_is_a_collective_of_its_own() -> None:
    assert cut(TENSORS, "tensor") == TENSORS


def test_buckets_fill_from_the_last_tensor_on_and_split_none() -> None:
    assert cut(TENSORS, "buckets", 30) == (33, 40, 10)


def test_a_bucket_holds_one_tensor_at_least() -> None:
    assert cut(TENSORS, "buckets", 1) == TENSORS[::-1]


def test_a_bucket_is_25_mib_unless_told() -> None:
    assert cut((2**20,) * 60, "buckets") == (25 * 2**20, 25 * 2**20, 10 * 2**20)


@given(st.lists(st.integers(0, 100)), st.sampled_from(get_args(Granularity)), st.integers(1, 300))
def test_nothing_is_lost(tensors: list[int], granularity: Granularity, bucket_bytes: int) -> None:
    assert sum(cut(tensors, granularity, bucket_bytes)) == sum(tensors)


@given(st.lists(st.integers(1, 100), min_size=1), st.integers(1, 300))
def test_every_bucket_but_the_last_is_full(tensors: list[int], bucket_bytes: int) -> None:
    *full, last = cut(tensors, "buckets", bucket_bytes)
    assert last > 0
    assert all(size >= bucket_bytes for size in full)
