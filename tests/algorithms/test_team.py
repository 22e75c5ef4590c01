"""Super-learners that lose members and go on with fewer, or stop."""

from __future__ import annotations

from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dualrt import api
from dualrt.algorithms.hierarchical import HierarchicalADPSGD
from dualrt.core.errors import ScenarioError, StrandError
from dualrt.core.faults import Crash, Fault, Partition, Weather
from dualrt.scenario import load
from tests.support.adversity import DETECTION, Troubled, troubled
from tests.support.runs import Case

TARGET = 200
JITTERY = {"step_cv": 0.5, "nic_bytes_per_s": 1e9}
GO_ON = {"learners_per_group": 4, "on_member_lost": "go-on"}


def after(*faults: Fault, jitter: bool = False, updates: int = TARGET) -> Troubled:
    """Three super-learners of four on a ring, of which some are lost."""
    case = Case(HierarchicalADPSGD, 12, GO_ON, machine=JITTERY if jitter else {})
    return troubled(case, *faults, updates=updates)


def updates_s(run: Troubled, learner: int) -> list[float]:
    """When a learner has made its updates."""
    return [time_s for time_s, update in run.log.updates if update.learner == learner]


def teams(run: Troubled) -> dict[int, tuple[int, ...]]:
    """With whom each learner that is left works at the end."""
    return {
        rank: cast(HierarchicalADPSGD, learner).team.group.ranks
        for rank, learner in run.learners.items()
    }


def leaders(run: Troubled) -> list[int]:
    return [rank for rank, learner in sorted(run.learners.items()) if learner.is_replica]


def test_nobody_is_missed_where_nobody_is_lost() -> None:
    run = after()
    assert leaders(run) == [0, 4, 8]
    assert len(run.log.updates) >= TARGET / 4


def test_a_follower_that_is_lost_leaves_a_smaller_super_learner() -> None:
    run = after(Crash(6, at_s=5e-3))
    assert {teams(run)[rank] for rank in (4, 5, 7)} == {(4, 5, 7)}
    assert teams(run)[0] == (0, 1, 2, 3)
    assert leaders(run) == [0, 4, 8]
    assert run.log.steps(4) > 5


def test_a_leader_that_is_lost_is_followed_by_the_next_with_all_that_was_known() -> None:
    run = after(Crash(4, at_s=9.5e-3))
    assert {teams(run)[rank] for rank in (5, 6, 7)} == {(5, 6, 7)}
    assert leaders(run) == [0, 5, 8]
    # It counts for itself, on top of what its leader had done.
    assert run.log.steps(4) > 0
    assert run.log.steps(5) > 5
    assert run.learners[5].weights.versions[4] in {run.log.steps(4), run.log.steps(4) - 1}


def test_a_new_leader_is_averaged_with_by_the_others() -> None:
    run = after(Crash(4, at_s=9.5e-3))
    talked = {
        (span.learner, span.peer)
        for span in run.log.spans
        if span.kind in {"recv answer", "recv offer"}
    }
    assert talked & {(0, 5), (8, 5)}
    assert talked & {(5, 0), (5, 8)}
    for rank in (0, 8):
        assert run.learners[rank].weights.versions[5] > 5


def test_nobody_else_waits_for_a_follower_that_is_lost() -> None:
    run = after(Crash(6, at_s=5e-3))
    assert {wait.learner for wait in run.toll.given_up} == {4, 5, 7}
    assert {wait.peer for wait in run.toll.given_up} == {6}


def test_members_may_be_lost_one_after_another_and_at_once() -> None:
    run = after(Crash(4, at_s=5e-3), Crash(5, at_s=5e-3), Crash(6, at_s=20e-3))
    assert teams(run)[7] == (7,)
    assert leaders(run) == [0, 7, 8]
    assert run.log.steps(7) > 2


def test_who_would_have_led_may_be_lost_while_it_is_being_agreed() -> None:
    # It is asked for who is left from about 7 ms on, as the loss is noticed then.
    run = after(Crash(4, at_s=5e-3), Crash(5, at_s=5e-3 + DETECTION.detect_s + 2e-6))
    assert {teams(run)[rank] for rank in (6, 7)} == {(6, 7)}
    assert leaders(run) == [0, 6, 8]


def test_a_super_learner_may_be_lost_as_a_whole() -> None:
    run = after(*(Crash(rank, at_s=5e-3) for rank in range(4, 8)))
    assert leaders(run) == [0, 8]
    assert len(run.log.updates) >= TARGET / 4


@settings(max_examples=60)
@given(st.data())
def test_whoever_is_lost_whenever_all_others_come_to_the_end(data: st.DataObject) -> None:
    ranks = data.draw(st.sets(st.integers(0, 11), min_size=1, max_size=8))
    moments = st.floats(0.0, 25e-3)
    crashes = [Crash(rank, at_s=data.draw(moments)) for rank in sorted(ranks)]
    run = after(*crashes, jitter=True)
    left = set(range(12)) - ranks
    assert set(run.learners) >= left
    # Each that is left is in a team of all that are left of its super-learner; who was lost after
    # the end of it was still a member then.
    for rank, team in teams(run).items():
        assert rank in team
        mine = {peer for peer in left if peer // 4 == rank // 4}
        assert mine <= set(team)
        assert len({run_team for peer, run_team in teams(run).items() if peer in mine}) == 1
    counts = [learner.updates for learner in run.learners.values() if learner.is_replica]
    assert min(counts) >= TARGET / 4


def test_one_that_is_cut_in_two_goes_on_as_two_and_is_one_again() -> None:
    run = after(Partition(frozenset({6, 7}), 5e-3, 20e-3))
    assert leaders(run) == [0, 4, 8]
    assert {teams(run)[rank] for rank in range(4, 8)} == {(4, 5, 6, 7)}
    second = updates_s(run, 6)
    assert len(second) > 5
    # The step under way as they meet is taken to its end.
    assert 5e-3 < second[0] < second[-1] < 23e-3
    # What the second has counted is known to all.
    assert {one.weights.versions[6] for one in run.learners.values()} == {len(second)}


def test_whoever_is_cut_off_when_the_other_half_leads_on() -> None:
    run = after(Partition(frozenset({4}), 5e-3, 20e-3), updates=2 * TARGET)
    assert leaders(run) == [0, 4, 8]
    assert {teams(run)[rank] for rank in range(4, 8)} == {(4, 5, 6, 7)}
    assert updates_s(run, 4)[-1] > updates_s(run, 5)[-1] > 15e-3


def test_where_they_never_meet_again_each_half_comes_to_the_end() -> None:
    run = after(Partition(frozenset({6, 7}), 5e-3))
    assert leaders(run) == [0, 4, 6, 8]
    assert {teams(run)[rank] for rank in (6, 7)} == {(6, 7)}


def test_who_is_told_too_late_that_it_is_over_ends_when_it_meets_one_that_knows() -> None:
    # The others end at about 70 ms, which is what 7 alone would take many times as long for.
    run = after(Partition(frozenset({7}), 5e-3, 100e-3))
    assert leaders(run)[:3] == [0, 4, 7]
    assert updates_s(run, 7)[-1] < 110e-3


def test_nobody_waits_for_one_that_was_elsewhere_while_all_parted() -> None:
    # Whoever computes meanwhile notices nothing, and comes to a collective that the others have
    # given up; so does whose word of that is lost.
    parted = Partition(frozenset({7}), 5e-3, 5e-3 + 1.2 * DETECTION.detect_s)
    run = after(parted, Weather(drop=0.3, tags=frozenset({"left", "regroup"})), jitter=True)
    assert leaders(run) == [0, 4, 8]
    assert {teams(run)[rank] for rank in range(4, 8)} == {(4, 5, 6, 7)}


def test_weights_that_take_the_place_of_others_are_told() -> None:
    def told(*faults: Fault) -> int:
        return sum(learner.abandoned for learner in after(*faults).everyone)

    assert told() == 0
    # 6 comes to lead, and leads no more.
    assert told(Partition(frozenset({6, 7}), 5e-3, 20e-3)) >= 2


@settings(max_examples=60)
@given(st.data())
def test_however_it_is_cut_all_come_to_the_end_and_together(data: st.DataObject) -> None:
    # All is whole when each of twelve alone has made half of its updates.
    moments = st.floats(0.0, 4e-3)
    faults: list[Fault] = []
    for _ in range(data.draw(st.integers(1, 3))):
        side = frozenset(data.draw(st.sets(st.integers(0, 11), min_size=1, max_size=11)))
        start_s, length_s = data.draw(moments), data.draw(st.floats(1e-5, 4e-3))
        faults.append(Partition(side, start_s, start_s + length_s))
    dead = data.draw(st.sets(st.integers(0, 11), max_size=3))
    faults += [Crash(rank, at_s=data.draw(moments)) for rank in sorted(dead)]
    run = after(*faults, jitter=True, updates=3 * TARGET)
    left = set(range(12)) - dead
    assert set(run.learners) == left
    for rank, team in teams(run).items():
        assert {peer for peer in left if peer // 4 == rank // 4} <= set(team)


def test_by_default_the_loss_of_a_member_ends_the_run_and_names_it() -> None:
    case = Case(HierarchicalADPSGD, 12, {"learners_per_group": 4})
    with pytest.raises(StrandError, match=r"learner 6 is lost: it crashed at 0\.005 s"):
        troubled(case, Crash(6, at_s=5e-3), updates=TARGET)


def test_who_comes_back_finds_its_place_taken() -> None:
    with pytest.raises(StrandError, match="its super-learner has gone on without it"):
        after(Crash(6, at_s=5e-3, rejoin_after_s=10e-3))


def test_a_scenario_says_so_and_its_summary_tells_who_was_left() -> None:
    outcome = api.simulate(
        load(
            "quadratic-sd-psgd",
            [
                "learners=4",
                "algorithm={name='h-adpsgd', learners_per_group=2, on_member_lost='go-on'}",
                "training.epochs=1",
                "faults.crashes=[{learner=2, at_step=5}]",
            ],
        )
    )
    assert outcome.summary.faults is not None
    assert outcome.summary.faults.down_at_the_end == (2,)
    assert outcome.summary.loss is not None
    assert outcome.summary.steps_by_learner[3] > 10


def test_locks_that_wait_for_the_lost_do_not_go_on() -> None:
    settings_ = "{name='h-adpsgd', learners_per_group=2, on_member_lost='go-on', exchange='lock'}"
    with pytest.raises(
        ScenarioError, match=r"algorithm\.on_member_lost = 'go-on': needs an exchange"
    ):
        api.check(load("quadratic-sd-psgd", ["learners=4", f"algorithm={settings_}"]))
