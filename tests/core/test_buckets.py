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


@pytest.mark.parametrize(
    ("tensors", "last", "buckets"),
    [
        # The model's first tensors, as many as make no more than that.
        ([2, 1, 5, 4, 9], 3, (9, 9, 3)),
        ([2, 1, 5, 4, 9], 2, (9, 10, 2)),
        # One at least.
        ([2, 1, 5, 4, 9], 1, (9, 10, 2)),
        # It is small enough.
        ([2, 1, 5, 4, 9], 12, (9, 12)),
        # It is one tensor.
        ([20, 9], 3, (9, 20)),
        # The first is the last.
        ([1, 7], 3, (7, 1)),
        # A tensor of no weights is no bucket.
        ([0, 20], 3, (20,)),
        ([0, 9, 0, 9], 3, (9, 9)),
        ([], 3, (0,)),
    ],
)
def test_the_last_is_small_where_tensors_allow(
    tensors: list[int], last: int, buckets: tuple[int, ...]
) -> None:
    assert in_buckets(tensors, 100, 8, last) == buckets


@given(st.lists(sizes), sizes, sizes, st.none() | sizes)
def test_nothing_is_lost(tensors: list[int], bucket: int, first: int, last: int | None) -> None:
    assert sum(in_buckets(tensors, bucket, first, last)) == sum(tensors)
