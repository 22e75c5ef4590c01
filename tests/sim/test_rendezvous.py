"""Which calls of a collective belong together."""

from __future__ import annotations

from typing import Any

import pytest

from dualrt.core.effects import Group
from dualrt.core.errors import RunError
from dualrt.sim.rendezvous import Rendezvous

GROUP = Group("g", (2, 0, 5))


def ignore(_: Any) -> None:
    pass


def test_the_last_to_arrive_gets_what_all_brought_in_the_order_of_the_group() -> None:
    rendezvous = Rendezvous()
    woken: list[str] = []
    for rank in (5, 2):
        assert rendezvous.arrive(GROUP, rank, "allreduce", rank * 10, ignore) is None
    meeting = rendezvous.arrive(GROUP, 0, "allreduce", 0, woken.append)
    assert meeting is not None
    assert meeting.brought == (20, 0, 50)
    meeting.wakes[1]("zero")
    assert woken == ["zero"]


def test_a_fast_member_s_next_call_is_another_meeting() -> None:
    rendezvous = Rendezvous()
    pair = Group("pair", (0, 1))
    assert rendezvous.arrive(pair, 0, "allreduce", "first", ignore) is None
    assert rendezvous.arrive(pair, 0, "allreduce", "second", ignore) is None
    first = rendezvous.arrive(pair, 1, "allreduce", "1st", ignore)
    second = rendezvous.arrive(pair, 1, "allreduce", "2nd", ignore)
    assert first is not None
    assert second is not None
    assert (first.brought, second.brought) == (("first", "1st"), ("second", "2nd"))


def test_groups_do_not_mix() -> None:
    rendezvous = Rendezvous()
    one, other = Group("one", (0, 1)), Group("other", (0, 1))
    assert rendezvous.arrive(one, 0, "allreduce", None, ignore) is None
    assert rendezvous.arrive(other, 1, "allreduce", None, ignore) is None


def test_a_group_of_one_meets_at_once() -> None:
    meeting = Rendezvous().arrive(Group("alone", (3,)), 3, "broadcast", "x", ignore)
    assert meeting is not None
    assert meeting.brought == ("x",)


def test_a_stranger_is_refused() -> None:
    with pytest.raises(RunError, match=r"learner 1 is no member of group 'g': \(2, 0, 5\)"):
        Rendezvous().arrive(GROUP, 1, "allreduce", None, ignore)


def test_members_that_call_different_collectives_are_told() -> None:
    rendezvous = Rendezvous()
    rendezvous.arrive(GROUP, 2, "allreduce", None, ignore)
    told = "group 'g': learner 5 calls broadcast from 2 where learner 2 calls allreduce"
    with pytest.raises(RunError, match=told):
        rendezvous.arrive(GROUP, 5, "broadcast from 2", None, ignore)


def test_a_member_may_stand_for_others_who_bring_the_same() -> None:
    rendezvous, woken = Rendezvous(), list[str]()
    for _ in range(2):
        assert rendezvous.arrive(GROUP, 0, "allreduce", "both", woken.append, [5]) is None
        meeting = rendezvous.arrive(GROUP, 2, "allreduce", "alone", woken.append)
        assert meeting is not None
        assert meeting.brought == ("alone", "both", "both")
        assert len(meeting.wakes) == 2


def test_nobody_stands_for_a_stranger() -> None:
    with pytest.raises(RunError, match="learner 1 is no member of group 'g'"):
        Rendezvous().arrive(GROUP, 0, "allreduce", None, ignore, [1])
