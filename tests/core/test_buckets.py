"""Buckets of a gradient: neighbouring tensors, from the last one on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualrt.core.buckets import in_buckets

sizes = st.integers(0, 1000)


@pytest.mark.parametrize(
    ("tensors", "bucket", "first", "buckets"),
    [
        ([5, 4, 3, 2, 1], 6, None, (6, 9)),
        ([5, 4, 3, 2, 1], 6, 1, (1, 9, 5)),
        ([100, 1], 6, None, (101,)),
        ([1, 100], 6, 1, (100, 1)),
        ([1, 1], 6, None, (2,)),
        ([], 6, None, (0,)),
    ],
)
def test_a_bucket_is_full_once_it_has_reached_its_size(
    tensors: list[int], bucket: int, first: int | None, buckets: tuple[int, ...]
) -> None:
    assert in_buckets(tensors, bucket, first) == buckets


@given(st.lists(sizes), sizes, sizes)
def test_nothing_is_lost(tensors: list[int], bucket: int, first: int) -> None:
    assert sum(in_buckets(tensors, bucket, first)) == sum(tensors)
