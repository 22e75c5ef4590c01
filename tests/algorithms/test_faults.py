"""What learners make of faults: what is conserved, who waits, who ends, what is counted."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dualrt.algorithms.adpsgd import ADPSGD
from dualrt.algorithms.asgd import ASGD
from dualrt.algorithms.delay_by_one import DelayByOne
from dualrt.algorithms.hierarchical import HierarchicalADPSGD
from dualrt.algorithms.sdpsgd import SDPSGD
from dualrt.algorithms.ssgd import SSGD
from dualrt.core.errors import StrandError
from dualrt.core.faults import Crash, Detection, Fault, Partition, SlowCard, SlowPair, Weather
from dualrt.core.learner import Learner
from tests.support.adversity import DETECTION, troubled
from tests.support.exact import imbalance
from tests.support.runs import Case

TARGET = 200
JITTERY = {"step_cv": 0.5, "nic_bytes_per_s": 1e9}


@st.composite
def hindrances(draw: st.DrawFn, learners: int) -> list[Fault]:
    """Faults that lose nothing."""
    pair = st.frozensets(st.integers(0, learners - 1), min_size=2, max_size=2)
    late_s = st.sampled_from([1e-3, 10e-3, DETECTION.timeout_s * 1.5])
    chance = st.sampled_from([0.01, 0.1, 0.5])
    kinds: list[st.SearchStrategy[Fault]] = [
        st.builds(Weather, delay=chance, delay_s=late_s, end_s=st.just(0.05)),
        st.builds(Weather, duplicate=chance, delay_s=late_s),
        st.builds(Weather, reorder=chance, delay_s=st.sampled_from([1e-3, 10e-3])),
        st.builds(SlowPair, pair, st.sampled_from([0.5, 0.1]), st.just(0.0)),
        st.builds(
            SlowCard, st.integers(0, learners - 1), st.sampled_from([0.5, 0.1]), st.just(0.0)
        ),
    ]
    return draw(st.lists(st.one_of(kinds), min_size=1, max_size=4))


@settings(max_examples=40)
@given(st.data(), st.integers(2, 7), st.sampled_from(["ring", "complete", "star"]))
def test_where_nothing_is_lost_the_sum_is_conserved_exactly(
    data: st.DataObject, learners: int, graph: str
) -> None:
    case = Case(
        ADPSGD,
        learners,
        graph=graph,
        mixing=data.draw(st.sampled_from(["pairwise", "neighbours"])),
        seed=data.draw(st.integers(0, 99)),
        machine=JITTERY,
    )
    run = troubled(case, *data.draw(hindrances(learners)), updates=40)
    assert run.toll.lost == 0
    abandoned = sum(learner.abandoned for learner in run.everyone)
    assert abandoned or imbalance(run.everyone) == 0
    assert len(run.log.updates) >= 40


def test_answers_that_come_after_their_initiator_gave_up_still_count() -> None:
    late = Weather(
        delay=0.2, delay_s=DETECTION.timeout_s * 1.5, end_s=0.02, tags=frozenset({"answer"})
    )
    run = troubled(Case(ADPSGD, 6, machine=JITTERY), late)
    assert run.toll.given_up
    assert sum(learner.abandoned for learner in run.everyone) == 0
    assert imbalance(run.everyone) == 0


class TestTheDead:
    """On an even ring those with odd numbers only answer: who waits, waits for them."""

    def test_cost_each_neighbour_one_exchange_and_no_wait_a_step(self) -> None:
        run = troubled(Case(ADPSGD, 6), Crash(3, at_s=5.5e-3))
        assert {wait.peer for wait in run.toll.given_up} == {3}
        waiters = sorted(wait.learner for wait in run.toll.given_up)
        assert waiters == [2, 4]
        waited_s = [wait.ended_s - wait.began_s for wait in run.toll.given_up]
        assert max(waited_s) <= DETECTION.detect_s

    def test_leave_the_pool_to_the_others(self) -> None:
        run = troubled(Case(ADPSGD, 6), Crash(2, at_step=3), Crash(3, at_step=0))
        assert run.log.steps(2) == 3
        assert run.log.steps(3) == 0
        assert TARGET <= len(run.log.updates) < 1.2 * TARGET

    @pytest.mark.parametrize("mixing", ["pairwise", "neighbours"])
    @pytest.mark.parametrize("dead", [(2, 5), (1, 4), (0, 1, 4, 5)])
    def test_who_would_split_the_graph_are_gone_around(
        self, mixing: str, dead: tuple[int, ...]
    ) -> None:
        crashes = [Crash(rank, at_step=0) for rank in dead]
        run = troubled(Case(ADPSGD, 8, mixing=mixing), *crashes)
        # Two parts would each make what they do not know the other to have made.
        assert TARGET <= len(run.log.updates) < 1.2 * TARGET
        for learner in run.learners.values():
            unheard = [peer for peer in run.learners if not learner.weights.versions[peer]]
            assert unheard == []

    def test_are_gone_around_until_they_are_back(self) -> None:
        run = troubled(Case(ADPSGD, 6), Crash(3, at_s=5e-3, rejoin_after_s=5e-3))
        back_s = run.toll.rejoined[0][1] + DETECTION.detect_s
        asked = {(one.learner, one.peer) for one in run.log.spans if one.kind == "recv answer"}
        later = {
            (one.learner, one.peer)
            for one in run.log.spans
            if one.kind == "recv answer" and one.start_s > back_s
        }
        assert {(2, 4), (4, 2)} <= asked
        assert not {(2, 4), (4, 2)} & later

    def test_may_be_all_but_one(self) -> None:
        crashes = [Crash(rank, at_s=5e-3) for rank in range(1, 6)]
        run = troubled(Case(ADPSGD, 6), *crashes)
        assert list(run.learners) == [0]
        assert len(run.log.updates) >= TARGET


class TestTheReturned:
    def test_go_on_with_a_neighbours_weights_and_count_never_back(self) -> None:
        run = troubled(Case(ADPSGD, 6), Crash(2, at_s=10e-3, rejoin_after_s=8e-3))
        assert run.toll.rejoined
        mine = [(time_s, one.step) for time_s, one in run.log.updates if one.learner == 2]
        before = [step for time_s, step in mine if time_s < 10e-3]
        after = [step for time_s, step in mine if time_s > 18e-3]
        # What its neighbour knew of it, a step or two short of what it had done.
        assert before[-1] - 2 <= after[0] <= before[-1] + 1
        assert after == sorted(after)
        for learner in run.learners.values():
            assert learner.weights.versions[2] <= after[-1]

    def test_draw_no_mini_batch_that_was_known_to_be_drawn(self) -> None:
        run = troubled(Case(ADPSGD, 6), Crash(2, at_s=10e-3, rejoin_after_s=8e-3))
        returned = run.learners[2]
        assert returned.seat.incarnation == 1
        assert returned.draws >= returned.step

    def test_may_be_all_at_once(self) -> None:
        crashes = [Crash(rank, at_s=5e-3, rejoin_after_s=5e-3) for rank in range(4)]
        run = troubled(Case(ADPSGD, 4), *crashes)
        assert len(run.toll.rejoined) == 4
        assert len(run.learners) == 4

    def test_may_be_neighbours_and_do_not_wait_for_one_another(self) -> None:
        """Of three in a row two are each other's first choice."""
        crashes = [Crash(rank, at_s=5e-3, rejoin_after_s=5e-3) for rank in (2, 3, 4)]
        run = troubled(Case(ADPSGD, 6), *crashes)
        assert len(run.toll.rejoined) == 3
        assert not any(wait.silent for wait in run.toll.given_up if wait.learner in {2, 3, 4})
        # With the weights of others, not from the beginning.
        assert all(run.learners[rank].weights.versions.total >= TARGET for rank in (2, 3, 4))

    def test_are_averaged_with_again(self) -> None:
        run = troubled(Case(ADPSGD, 6), Crash(3, at_s=10e-3, rejoin_after_s=4e-3))
        back_s = run.toll.rejoined[0][1]
        answered = [
            span
            for span in run.log.spans
            if span.kind == "recv answer"
            and span.peer == 3
            and span.start_s > back_s
            and span.bytes
        ]
        assert len(answered) > 3


class TestTheEnd:
    """A learner ends when the updates that it knows of, its own included, make the target."""

    def test_comes_to_both_halves_of_a_partition_that_never_heals(self) -> None:
        run = troubled(Case(ADPSGD, 6), Partition(frozenset({0, 1, 2}), 10e-3))
        # Each half makes what it does not know the other to have made.
        assert 1.5 * TARGET < len(run.log.updates) < 2 * TARGET + 6 * 6

    def test_comes_where_no_message_arrives(self) -> None:
        run = troubled(Case(ADPSGD, 3), Weather(drop=1.0), updates=30)
        assert 3 * 30 <= len(run.log.updates) < 3 * 30 + 9

    @pytest.mark.parametrize("tag", ["end", "offer", "answer"])
    def test_comes_where_one_kind_of_message_is_lost(self, tag: str) -> None:
        run = troubled(Case(ADPSGD, 4), Weather(drop=1.0, tags=frozenset({tag})), updates=60)
        assert len(run.log.updates) >= 60

    def test_does_not_wait_for_who_would_come_back_after_it(self) -> None:
        run = troubled(Case(ADPSGD, 4), Crash(1, at_s=1e-3, rejoin_after_s=1e3))
        assert run.log.elapsed_s < 1.0


@pytest.mark.parametrize(
    ("algorithm", "of"),
    [
        (SSGD, {}),
        (SDPSGD, {}),
        (DelayByOne, {}),
        (HierarchicalADPSGD, {"learners_per_group": 2}),
        (ADPSGD, {"exchange": "lock"}),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_one_that_needs_everyone_stops_in_time_and_names_the_dead(
    algorithm: type[Learner], of: dict[str, int]
) -> None:
    crash_s = 20.5e-3
    with pytest.raises(StrandError, match=r"learner 2 is lost: it crashed at 0\.0205 s") as raised:
        troubled(Case(algorithm, 6, of), Crash(2, at_s=crash_s))
    found = re.search(r"at ([\d.]+) s$", str(raised.value).splitlines()[0])
    assert found
    # Whoever computes notices as it next asks for the dead.
    assert float(found[1]) <= crash_s + DETECTION.detect_s + 1.5e-3


def test_a_servers_end_ends_the_run_and_a_workers_does_not() -> None:
    run = troubled(Case(ASGD, 4), Crash(2, at_s=5e-3))
    assert len(run.log.updates) == TARGET
    with pytest.raises(StrandError, match="learner 0 is lost"):
        troubled(Case(ASGD, 4), Crash(0, at_s=5e-3))


def test_the_same_faults_make_the_same_run() -> None:
    faults: list[Fault] = [
        Weather(drop=0.1, delay=0.1, duplicate=0.1, delay_s=3e-3),
        Crash(1, at_s=9e-3, rejoin_after_s=9e-3),
        Partition(frozenset({0, 3}), 12e-3, 20e-3),
    ]
    first, second = (troubled(Case(ADPSGD, 6, machine=JITTERY), *faults).log for _ in range(2))
    assert first == second


def test_detection_follows_from_the_one_timeout() -> None:
    assert Detection.within(60.0) == (3.0, 60.0)
    assert math.inf == Partition(frozenset({0}), 1.0).end_s
