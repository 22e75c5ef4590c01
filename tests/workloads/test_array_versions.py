"""Version vectors as arrays mean what core's mean."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from dualrt.core.versions import VersionVector
from dualrt.workloads.array_versions import ArrayVersions

LEARNERS = 4
COUNTS = st.lists(st.integers(0, 20), min_size=LEARNERS, max_size=LEARNERS).map(tuple)
RANKS = st.integers(0, LEARNERS - 1)

Change = Callable[[VersionVector], object]


def advance(rank: int) -> Change:
    return lambda versions: versions.advance(rank)


def merge(other: tuple[int, ...]) -> Change:
    return lambda versions: versions.merge(other)


def witness(ranks: list[int], count: int) -> Change:
    return lambda versions: versions.witness(ranks, count)


CHANGES = st.one_of(
    st.builds(advance, RANKS),
    st.builds(merge, COUNTS),
    st.builds(witness, st.lists(RANKS), st.integers(0, 20)),
)


@given(st.lists(CHANGES), st.lists(CHANGES))
def test_they_count_as_lists_do(before: list[Change], after: list[Change]) -> None:
    lists, arrays = VersionVector(LEARNERS), ArrayVersions(LEARNERS)
    for change in before:
        assert change(arrays) == change(lists)
    reads = lists.freeze(), arrays.freeze()
    for change in after:
        assert change(arrays) == change(lists)
    assert (arrays.total, arrays.since(reads[1])) == (lists.total, lists.since(reads[0]))
    assert arrays.freeze() == lists.freeze()
    assert [arrays[rank] for rank in range(len(arrays))] == list(lists.freeze())
    assert reads[1] == reads[0]


@given(COUNTS, COUNTS)
def test_a_frozen_one_is_as_good_as_a_tuple(mine: tuple[int, ...], theirs: tuple[int, ...]) -> None:
    peer, versions = ArrayVersions(LEARNERS), ArrayVersions(LEARNERS)
    peer.merge(theirs)
    versions.merge(mine)
    frozen = peer.freeze()
    assert (hash(frozen), repr(frozen), tuple(frozen)) == (hash(theirs), repr(theirs), theirs)
    assert (frozen[-1], frozen[1:], len(frozen)) == (theirs[-1], theirs[1:], LEARNERS)
    versions.merge(frozen)
    assert versions.freeze() == tuple(map(max, mine, theirs))
    assert (frozen == mine) == (theirs == mine)


def test_it_is_frozen_anew_only_after_a_change() -> None:
    versions = ArrayVersions(LEARNERS)
    first = versions.freeze()
    assert versions.freeze() is first
    versions.advance(0)
    assert versions.freeze() is not first
    assert first == (0, 0, 0, 0)
