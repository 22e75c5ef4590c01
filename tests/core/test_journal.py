"""Records on their way to an observer."""

from __future__ import annotations

from array import array

import pytest

from dualrt.core.journal import Journal
from dualrt.core.records import Heed, Lane, Row, Span
from dualrt.observe.digest import TimingDigest
from dualrt.observe.fan import fan
from dualrt.observe.tally import Tally
from tests.observe.examples import update
from tests.support.simulated import Log

SPAN = Span(0, "train", "gradient", 0.0, 1.0, 8, -1, 1)
LANE, ROW = SPAN.lane, SPAN.row


def test_an_observer_of_single_records_hears_each_at_once() -> None:
    log = Log()
    journal = Journal(log)
    journal.pen(LANE)(ROW)
    journal.update(1.0, update())
    assert log.spans == [SPAN]
    assert log.updates == [(1.0, update())]
    journal.flush()
    assert len(log.spans) == len(log.updates) == 1
    assert journal.lanes == 0


def test_an_observer_of_many_hears_them_when_they_are_flushed_and_once() -> None:
    tally = Tally(1)
    journal = Journal(tally)
    write = journal.pen(LANE)
    write(ROW)
    journal.pen(LANE)(ROW)
    journal.update(1.0, update())
    assert (tally.steps, tally.updates, journal.lanes) == (0, 0, 1)
    journal.flush()
    journal.flush()
    assert (tally.steps, tally.updates) == (2, 1)
    write(ROW)
    journal.flush()
    assert tally.steps == 3


def test_a_row_of_a_chorus_is_one_of_each_lane_for_who_takes_no_choruses() -> None:
    told: list[tuple[Lane, list[Row]]] = []

    class Soloist(Log):
        def bulk_spans(self, lane: Lane, rows: list[Row]) -> None:
            told.append((lane, [*rows]))

        def bulk_updates(self, applied: object) -> None:
            pass

    lanes = [LANE, LANE._replace(learner=1)]
    tally = Tally(2)
    for observer in (Soloist(), tally):
        journal = Journal(observer)
        write = journal.chorus(lanes)
        assert journal.lanes == 2
        write((array("d", [0.0, 0.5]), array("d", [1.0, 2.0]), 8, 1))
        journal.flush()
        journal.flush()
    assert told == [(lanes[0], [ROW]), (lanes[1], [(0.5, 2.0, 8, -1, 1)])]
    assert tally.steps_by_learner == [1, 1]


def test_both_ways_give_one_digest() -> None:
    digest, log = TimingDigest(), Log()
    for observer in (digest, log):
        journal = Journal(observer)
        journal.pen(LANE)(ROW)
        journal.update(1.0, update())
        journal.flush()
    again = TimingDigest()
    again.span(log.spans[0])
    again.update(*log.updates[0])
    assert again.hexdigest() == digest.hexdigest()


class Hasty(Tally):
    """Takes records in bulk, and keeps when it is told of updates at once."""

    def __init__(self) -> None:
        super().__init__(1)
        self.told_s: list[float] = []

    @property
    def heeds(self) -> tuple[Heed, ...]:
        return (lambda time_s, _: self.told_s.append(time_s),)


@pytest.mark.parametrize("others", [0, 1])
def test_who_is_hasty_hears_of_updates_at_once_and_of_all_in_bulk(others: int) -> None:
    hasty = Hasty()
    journal = Journal(fan(hasty, *(Tally(1) for _ in range(others))))
    assert journal.in_bulk
    journal.pen(LANE)(ROW)
    journal.update(1.0, update())
    assert (hasty.told_s, hasty.updates, hasty.steps) == ([1.0], 0, 0)
    journal.flush()
    assert (hasty.told_s, hasty.updates, hasty.steps) == ([1.0], 1, 1)
