"""Faults that cannot be, which are refused where they are written."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from dualrt.core.errors import UsageError
from dualrt.core.faults import Crash, Fault, Partition, SlowCard, SlowPair, Weather

PAIR, SIDE = frozenset({0, 1}), frozenset({1})


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Crash(1, at_s=-1.0), "at_s = -1.0"),
        (lambda: Crash(1, at_s=math.inf), "at_s = inf"),
        (lambda: Crash(1, at_step=-1), "at_step = -1 cannot be. Count steps from 0"),
        # What a user's code may well do, without a type checker.
        (lambda: Crash(1, at_step=1.5), "at_step = 1.5 cannot be. Give a whole"),  # type: ignore[arg-type]  # see above
        (lambda: Crash(1, at_step=1, rejoin_after_s=0.0), "rejoin_after_s = 0.0"),
        (lambda: Crash(1, at_step=1, rejoin_after_s=math.nan), "rejoin_after_s = nan"),
        (lambda: Partition(SIDE, 2.0, 1.0), "end_s = 1.0"),
        (lambda: Partition(SIDE, -1.0), "start_s = -1.0"),
        (lambda: SlowCard(0, 0.0, 0.0), "factor = 0.0 cannot be. Give the part"),
        (lambda: SlowCard(0, 0.5, 1.0, 1.0), "end_s = 1.0"),
        (lambda: SlowPair(PAIR, 2.0, 0.0), "factor = 2.0"),
        (lambda: SlowPair(SIDE, 0.5, 0.0), "Name two learners"),
        (lambda: Weather(drop=1.5), "drop = 1.5 cannot be. Give a probability"),
        (lambda: Weather(reorder=math.nan), "reorder = nan"),
        (lambda: Weather(delay=0.5, delay_s=-1.0), "delay_s = -1.0"),
        (lambda: Weather(duplicate=0.5), "delay_s = 0.0 cannot be. Say how much later"),
        (lambda: Weather(delay=0.5), "delay_s = 0.0"),
        (lambda: Weather(reorder=0.5), "delay_s = 0.0"),
        (lambda: Weather(drop=0.5, pair=SIDE), "Name two learners"),
        (lambda: Weather(drop=0.5, start_s=1.0, end_s=0.5), "end_s = 0.5"),
    ],
)
def test_what_cannot_be_is_named(make: Callable[[], Fault], says: str) -> None:
    with pytest.raises(UsageError) as refused:
        make()
    assert says in str(refused.value)
