"""Everybody meets everybody once, never two at a time, and network cards are shared alike."""

from __future__ import annotations

from collections import Counter
from itertools import accumulate, combinations, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualrt.doctor.schedule import rounds


def by_host(sizes: list[int]) -> list[list[int]]:
    starts = [0, *accumulate(sizes)]
    return [list(range(a, b)) for a, b in pairwise(starts)]


@given(st.lists(st.integers(1, 5), min_size=1, max_size=6))
def test_every_two_learners_meet_once_and_nobody_is_in_two_exchanges(sizes: list[int]) -> None:
    hosts = by_host(sizes)
    plan = list(rounds(hosts))
    for pairs in plan:
        assert pairs
        assert max(Counter(rank for pair in pairs for rank in pair).values()) == 1
    met = sorted(pair for pairs in plan for pair in pairs)
    assert met == list(combinations(range(sum(sizes)), 2))


@pytest.mark.parametrize(("hosts", "size"), [(2, 4), (3, 2), (4, 8), (5, 1)])
def test_in_rounds_between_hosts_as_many_exchanges_share_each_card(hosts: int, size: int) -> None:
    plan = list(rounds(by_host([size] * hosts)))
    between = [pairs for pairs in plan if any(a // size != b // size for a, b in pairs)]
    for pairs in between:
        shared = Counter(rank // size for pair in pairs for rank in pair)
        assert set(shared.values()) == {size}
    # As few as there can be, where the number of hosts is even; else one host rests in each.
    assert len(plan) == (size - 1) + (size % 2 and size > 1) + (hosts - 1 + hosts % 2) * size
