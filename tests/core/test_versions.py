"""The version vector counts, merges by maximum, and measures staleness."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dualrt.core.versions import Staleness, VersionVector

COUNTS = st.lists(st.integers(0, 50), min_size=3, max_size=3)


def vector_of(counts: list[int]) -> VersionVector:
    vector = VersionVector(len(counts))
    vector.merge(counts)
    return vector


def test_a_new_vector_has_seen_nothing() -> None:
    assert VersionVector(3).freeze() == (0, 0, 0)
    assert VersionVector(3).total == 0


def test_advancing_counts_one_learner_only() -> None:
    vector = VersionVector(3)
    assert vector.advance(1) == 1
    assert vector.advance(1) == 2
    assert vector.freeze() == (0, 2, 0)


@given(COUNTS, COUNTS, COUNTS)
def test_merging_is_commutative_associative_and_idempotent(
    a: list[int], b: list[int], c: list[int]
) -> None:
    left, right = vector_of(a), vector_of(c)
    left.merge(b)
    left.merge(c)
    right.merge(b)
    right.merge(a)
    right.merge(a)
    assert left.freeze() == right.freeze() == tuple(map(max, a, b, c))


def test_a_frozen_vector_does_not_follow_later_changes() -> None:
    vector = VersionVector(2)
    frozen = vector.freeze()
    vector.advance(0)
    assert frozen == (0, 0)
    assert vector.freeze() == (1, 0)


def test_a_witness_never_lowers_a_count() -> None:
    vector = vector_of([5, 1, 0])
    vector.witness((0, 1), 3)
    assert vector.freeze() == (5, 3, 0)


def test_staleness_is_the_largest_gap_and_their_sum() -> None:
    vector = vector_of([2, 7, 4])
    assert vector.since((2, 4, 3)) == Staleness(steps=3, missed=4)
