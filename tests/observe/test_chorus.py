"""A row for learners in unison counts as a row of each of them."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dualrt.core.records import ChorusObserver, ChorusRow, Lane, Row, Span, Update, solos
from dualrt.observe.digest import TimingDigest
from dualrt.observe.fan import fan
from dualrt.observe.tally import Tally

LANES = [Lane(learner, "follow", "gradient") for learner in range(3)]

times = st.lists(st.floats(0.0, 1e6), min_size=3, max_size=3).map(np.array)
rows = st.tuples(times, times, st.integers(0, 2**40), st.integers(0, 2**40)).map(
    lambda row: (np.minimum(row[0], row[1]), np.maximum(row[0], row[1]), row[2], row[3])
)
flushes = st.lists(st.lists(rows, min_size=1, max_size=5), max_size=4)


def row(starts_s: list[float], ends_s: list[float], size: int, step: int) -> ChorusRow:
    return array("d", starts_s), array("d", ends_s), size, step


class Diary:
    """Takes records in bulk, but no choruses."""

    def __init__(self) -> None:
        self.rows: list[tuple[Lane, list[Row]]] = []

    def span(self, span: Span) -> None:
        raise AssertionError("it is told in bulk")

    def update(self, time_s: float, update: Update) -> None:
        raise AssertionError("it is told in bulk")

    def bulk_spans(self, lane: Lane, rows: Sequence[Row]) -> None:
        self.rows.append((lane, [*rows]))

    def bulk_updates(self, applied: Sequence[tuple[float, Update]]) -> None:
        pass


def test_solos_are_the_rows_of_each_lane() -> None:
    sung = [row([0.0, 1.0], [2.0, 3.0], 5, 7), row([2.0, 3.0], [4.0, 4.0], 6, 8)]
    assert dict(solos(LANES[:2], sung)) == {
        LANES[0]: [(0.0, 2.0, 5, -1, 7), (2.0, 4.0, 6, -1, 8)],
        LANES[1]: [(1.0, 3.0, 5, -1, 7), (3.0, 4.0, 6, -1, 8)],
    }


@given(flushes)
def test_a_chorus_adds_up_and_hashes_as_its_solos_do(flushes: list[list[ChorusRow]]) -> None:
    together, alone = (Tally(3), TimingDigest()), (Tally(3), TimingDigest())
    for sung in flushes:
        for observer in together:
            observer.chorus_spans(LANES, sung)
        for lane, of_lane in solos(LANES, sung):
            for observer in alone:
                observer.bulk_spans(lane, of_lane)
    assert together[0].to_builtins() == alone[0].to_builtins()
    assert together[1].hexdigest() == alone[1].hexdigest()


def test_a_fan_sings_solos_to_those_who_take_no_chorus() -> None:
    diary, digest, alone = Diary(), TimingDigest(), TimingDigest()
    both = fan(diary, digest)
    assert isinstance(both, ChorusObserver)
    sung = [row([0.0, 1.0, 2.0], [2.0, 3.0, 4.0], 5, 7)]
    both.chorus_spans(LANES, sung)
    assert diary.rows == [*solos(LANES, sung)]
    for lane, of_lane in diary.rows:
        alone.bulk_spans(lane, of_lane)
    assert digest.hexdigest() == alone.hexdigest()
