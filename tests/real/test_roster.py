"""Windows bound what a learner may occupy at another; greetings and goodbyes are waited for."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from dualrt.core.errors import RunError, StalledError, UsageError
from dualrt.real.roster import Roster
from dualrt.real.wire import cost_bytes

BODY_BYTES = 10_000_000
COST = cost_bytes(BODY_BYTES)


@pytest.fixture
def roster() -> Roster:
    made = Roster(BODY_BYTES)
    made.enrol([1, 2])
    return made


def test_two_of_the_largest_bodies_fit_and_a_third_does_not(roster: Roster) -> None:
    roster.reserve(1, COST, 0)
    roster.reserve(1, COST, 0)
    with pytest.raises(StalledError, match="learner 1 took no message"):
        roster.reserve(1, COST, 0.01)
    roster.reserve(2, COST, 0)


def test_a_credit_makes_room(roster: Roster) -> None:
    roster.reserve(1, COST, 0)
    roster.reserve(1, COST, 0)
    with ThreadPoolExecutor(1) as pool:
        blocked = pool.submit(roster.reserve, 1, COST, 5)
        roster.credit(1, COST)
        blocked.result(5)


def test_a_credit_that_was_overtaken_or_exaggerates_makes_no_room(roster: Roster) -> None:
    roster.reserve(1, COST, 0)
    roster.credit(1, 10 * COST)
    roster.credit(1, 0)
    roster.reserve(1, COST, 0)
    roster.reserve(1, COST, 0)
    with pytest.raises(StalledError):
        roster.reserve(1, COST, 0)


def test_a_receiver_that_takes_everything_never_leaves_the_sender_stuck(roster: Roster) -> None:
    """The sender's roster and the receiver's are two; here one plays both parts."""
    sizes = [0, BODY_BYTES // 3, BODY_BYTES, BODY_BYTES // 2, 1, BODY_BYTES]
    taken_bytes = 0
    for size in sizes * 20:
        roster.reserve(1, cost_bytes(size), 0)
        roster.hold(1, cost_bytes(size))
        tell = roster.release(1, cost_bytes(size))
        taken_bytes += cost_bytes(size)
        assert roster.held_bytes(1) == 0
        if tell:
            roster.credit(1, taken_bytes)


def test_a_flood_of_empty_messages_is_bounded(roster: Roster) -> None:
    for _ in range(roster.window_bytes // cost_bytes(0)):
        roster.reserve(1, cost_bytes(0), 0)
    with pytest.raises(StalledError):
        roster.reserve(1, cost_bytes(0), 0)


def test_those_who_did_not_answer_are_named(roster: Roster) -> None:
    roster.greeted(1)
    roster.await_greeted([1], 0)
    with pytest.raises(StalledError, match=r"learners \[2\]"):
        roster.await_greeted([1, 2], 0.01)


def test_goodbyes_are_over_when_all_are_said_and_heard(roster: Roster) -> None:
    for rank in (1, 2):
        roster.said_bye(rank)
    roster.heard_bye(1)
    assert roster.await_byes(0.01) == {2}
    roster.heard_bye(2)
    assert roster.await_byes(5) == frozenset()


@pytest.mark.parametrize("rank", [0, 3, -1])
def test_a_stranger_is_a_usage_error(roster: Roster, rank: int) -> None:
    with pytest.raises(UsageError, match=r"known are \[1, 2\]"):
        roster.reserve(rank, 1, 0)


def test_the_learners_are_told_once(roster: Roster) -> None:
    with pytest.raises(UsageError, match="connect once"):
        roster.enrol([1])


def test_close_ends_every_wait(roster: Roster) -> None:
    roster.reserve(1, COST, 0)
    roster.reserve(1, COST, 0)
    with ThreadPoolExecutor(3) as pool:
        waits: list[Future[object]] = [
            pool.submit(roster.reserve, 1, COST, 60),
            pool.submit(roster.await_greeted, [1], 60),
            pool.submit(roster.await_byes, 60),
        ]
        roster.close(RunError("cut"))
        for wait in waits:
            with pytest.raises(RunError, match="cut"):
                wait.result(5)


def test_nobody_waits_for_room_at_a_lost_peer_and_nothing_is_sent_to_it(roster: Roster) -> None:
    assert roster.reserve(1, COST, 0)
    assert roster.reserve(1, COST, 0)
    with ThreadPoolExecutor(1) as pool:
        blocked = pool.submit(roster.reserve, 1, COST, 20)
        roster.lose(1)
        assert blocked.result(20) is False
    assert roster.lost == {1}
    assert roster.reserve(1, COST, 0) is False
    roster.greeted(1)
    assert roster.lost == frozenset()
    # What was under way when it fell occupies it no more.
    assert roster.reserve(1, COST, 0)
    assert roster.reserve(1, COST, 0)


def test_nobody_waits_for_the_goodbye_of_the_lost(roster: Roster) -> None:
    for rank in (1, 2):
        roster.said_bye(rank)
    roster.heard_bye(2)
    assert roster.await_byes(0.01) == {1}
    roster.lose(1)
    assert roster.await_byes(20) == frozenset()
