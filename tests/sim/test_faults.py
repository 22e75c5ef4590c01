"""What goes wrong with learners in the simulator, when others notice, and what they see of it."""

from __future__ import annotations

from typing import Any

import pytest

from dualrt.core.effects import (
    AllReduce,
    Broadcast,
    Compute,
    Cost,
    Group,
    Leave,
    Now,
    Packet,
    Place,
    Recv,
    Send,
    Sleep,
    Together,
)
from dualrt.core.errors import DeadlockError, PeerLostError, StrandError, UsageError
from dualrt.core.faults import Crash, Detection, Partition
from dualrt.core.learner import Strand
from dualrt.sim.faults import Adversity, FaultySimulator
from dualrt.workloads.phantom import PhantomVector
from tests.support.befallen import DETECTION, Listener, Stage, Waiter, count_aloud, idle, silent
from tests.support.simulated import Log, machine
from tests.support.stage import Actor, actors, daemon, main

SECOND = Cost("work", flops=1e12)


class TestCrash:
    def test_a_wait_for_a_dead_learner_ends_as_it_is_noticed(self) -> None:
        waiter = Waiter()
        Stage([[main(waiter)], [main(idle)]], Crash(1, at_s=3.0))
        assert waiter.lost_s == [4.0]

    def test_from_then_on_waits_end_at_once_and_sends_vanish(self) -> None:
        waiter = Waiter(from_s=7.0)

        async def talk() -> None:
            await Sleep(5.0)
            await Send(1, "t", Packet())

        stage = Stage([[main(waiter), main(talk)], [main(idle)]], Crash(1, at_s=3.0))
        assert waiter.lost_s == [7.0]
        assert stage.toll.lost == 1
        assert [span.kind for span in stage.log.spans] == ["down"]

    def test_mail_that_came_before_is_read_first(self) -> None:
        waiter = Waiter(from_s=7.0)

        async def talk() -> None:
            await Send(0, "t", Packet(note="a last word"))
            await idle()

        Stage([[main(waiter)], [main(talk)]], Crash(1, at_s=3.0))
        assert waiter.got == [(7.0, "a last word")]

    def test_a_run_ends_without_the_dead(self) -> None:
        stage = Stage([[main(lambda: idle(5.0))], [main(idle)]], Crash(1, at_s=3.0))
        assert stage.elapsed_s == 5.0
        assert stage.toll.crashed == ((1, 3.0),)
        assert stage.simulator.down == {1: 3.0}

    def test_nobody_crashes_when_all_have_ended(self) -> None:
        async def talk() -> None:
            await Send(1, "t", Packet(body=PhantomVector(10**7)))

        stage = Stage(
            [[main(talk), daemon(silent)], [main(lambda: idle(2.0)), daemon(silent)]],
            Crash(0, at_s=5.0, rejoin_after_s=1.0),
            Crash(1, at_s=2.5),
        )
        assert stage.elapsed_s == 2.0
        assert stage.toll.crashed == ()
        assert stage.toll.lost == 0

    def test_one_that_ends_as_the_last_one_is_lost_ends_the_run(self) -> None:
        stage = Stage([[main(lambda: idle(2.0))], [main(idle)]], Crash(1, at_s=3.0))
        assert stage.elapsed_s == 3.0
        assert stage.simulator.is_over

    def test_a_dead_learner_does_nothing_more(self) -> None:
        done: list[float] = []

        async def work(place: Place) -> None:
            while True:
                await Compute(lambda: done.append(0.0), SECOND, place)

        async def both() -> None:
            await Together(work(Place.DEVICE), idle())

        stage = Stage([[main(lambda: idle(9.0))], [main(both), daemon(silent)]], Crash(1, at_s=2.5))
        assert len(done) == 2
        assert stage.elapsed_s == 9.0

    @pytest.mark.parametrize("in_rounds", [False, True])
    def test_what_is_on_the_way_to_the_dead_or_from_it_is_lost(self, in_rounds: bool) -> None:
        learners = actors([[], []])

        async def talk(peer: int) -> None:
            body = learners[0].weights.snapshot().vector
            for number in range(3):
                await Send(peer, "t", Packet(body=body), number if in_rounds else None)
            await idle(9.0)

        stage = Stage(
            [[main(lambda: talk(1))], [main(lambda: talk(0))]],
            Crash(1, at_s=0.0),
        )
        assert stage.toll.lost == 6

    @pytest.mark.parametrize(("dead", "at_s"), [(1, 0.0), (1, 1e-6), (1, 1.0), (2, 0.0)])
    def test_a_round_to_the_dead_holds_up_nobody(self, dead: int, at_s: float) -> None:
        learners = actors([[], [], []])
        listener = Listener()

        async def talk() -> None:
            body = learners[0].weights.snapshot().vector
            for peer in (1, 2):
                await Send(peer, "t", Packet(body=body, note="lost"), peer)
            await Sleep(5.0)
            for peer in (1, 2, 3):
                await Send(peer, "t", Packet(body=body, note=peer), 3 * peer)
            await idle(9.0)

        stage = Stage(
            [[main(talk)], [main(idle)], [main(idle)], [daemon(listener)]], Crash(dead, at_s=at_s)
        )
        assert listener.got == [3]
        assert stage.simulator.down == {dead: at_s}

    def test_a_learner_crashes_as_it_begins_a_step(self) -> None:
        class Stepping(Actor):
            async def train(self) -> None:
                read = self.weights.snapshot()
                for _ in range(10):
                    await self.descend(await self.gradient(read), read)

        learner = Stepping(actors([[]])[0].seat, ())
        learner._strands = (Strand("train", learner.train),)
        log = Log()
        adversity = Adversity([Crash(0, at_step=4)], DETECTION, lambda *_: learner)
        FaultySimulator([learner], machine(1), log, adversity).run()
        assert [update.step for _, update in log.updates] == [1, 2, 3, 4]

    def test_who_is_dead_cannot_crash(self) -> None:
        stage = Stage(
            [[main(lambda: idle(9.0))], [main(idle)]], Crash(1, at_s=3.0), Crash(1, at_s=4.0)
        )
        assert stage.toll.crashed == ((1, 3.0),)

    def test_a_crash_needs_either_a_time_or_a_step(self) -> None:
        for given in ({}, {"at_s": 1.0, "at_step": 1}):
            with pytest.raises(UsageError, match="exactly one of at_s and at_step"):
                Crash(0, **given)  # type: ignore[arg-type]  # one dict for both types

    def test_what_nobody_catches_ends_the_run_and_names_the_dead(self) -> None:
        async def wait() -> None:
            await Recv("t", 1)

        with pytest.raises(StrandError, match=r"learner 0.*learner 1 is lost: it crashed at 3 s"):
            Stage([[main(wait)], [main(idle)]], Crash(1, at_s=3.0))


class TestRejoin:
    def test_it_comes_back_as_another_after_what_its_rejoining_takes(self) -> None:
        began: list[float] = []

        async def body() -> None:
            began.append(await Now())

        stage = Stage(
            [[main(lambda: idle(9.0))], [main(idle)]],
            Crash(1, at_s=3.0, rejoin_after_s=2.0),
            again=[main(body)],
        )
        assert stage.started == [(1, 1)]
        assert began == [5.25]
        assert stage.toll.rejoined == ((1, 5.0),)
        assert stage.simulator.down == {}

    def test_waits_for_its_dead_self_end_as_it_returns(self) -> None:
        waiter = Waiter()
        Stage(
            [[main(waiter)], [main(idle)]],
            Crash(1, at_s=3.0, rejoin_after_s=0.5),
        )
        assert waiter.lost_s == [3.5]

    def test_it_can_be_talked_to_again(self) -> None:
        async def answer() -> None:
            await Recv("ask")
            await Send(0, "t", Packet(note="new"))

        async def ask() -> None:
            await Sleep(7.0)
            await Send(1, "ask", Packet())

        waiter = Waiter(from_s=7.0)
        Stage(
            [[main(ask), main(waiter)], [main(idle)]],
            Crash(1, at_s=3.0, rejoin_after_s=2.0),
            again=[main(answer)],
        )
        assert [note for _, note in waiter.got] == ["new"]

    def test_what_was_sent_to_its_dead_self_does_not_reach_it(self) -> None:
        listener = Listener()
        Stage(
            [[main(count_aloud)], [main(silent)]],
            Crash(1, at_s=2.5, rejoin_after_s=2.1),
            again=[daemon(listener)],
        )
        assert listener.got == [5, 6, 7, 8]

    def test_where_all_have_crashed_the_run_waits_for_them(self) -> None:
        stage = Stage(
            [[main(idle)]], Crash(0, at_s=1.0, rejoin_after_s=50.0), again=[main(lambda: idle(1.0))]
        )
        assert stage.elapsed_s == pytest.approx(52.25)

    def test_where_all_others_have_ended_nobody_waits(self) -> None:
        stage = Stage(
            [[main(lambda: idle(2.0))], [main(idle)]],
            Crash(1, at_s=1.0, rejoin_after_s=50.0),
            again=[main(idle)],
        )
        assert stage.elapsed_s == 2.0
        assert stage.started == []

    def test_an_algorithm_that_takes_nobody_back_says_so(self) -> None:
        learners = actors([[main(lambda: idle(9.0))], [main(idle)]])
        adversity = Adversity(
            [Crash(1, at_s=1.0, rejoin_after_s=1.0)], DETECTION, lambda rank, _: learners[rank]
        )
        with pytest.raises(StrandError, match="Actor cannot take it back"):
            FaultySimulator(learners, machine(2), Log(), adversity).run()


class TestPartition:
    def test_a_wait_across_it_ends_as_it_is_noticed(self) -> None:
        waiter = Waiter()
        Stage([[main(waiter)], [main(idle)]], Partition(frozenset({1}), 3.0, 30.0))
        assert waiter.lost_s == [4.0]

    def test_within_a_side_nothing_changes(self) -> None:
        waiter = Waiter()

        async def talk() -> None:
            await Sleep(5.0)
            await Send(0, "t", Packet(note="here"))

        Stage([[main(waiter)], [main(talk)], [main(idle)]], Partition(frozenset({0, 1}), 3.0, 30.0))
        assert [note for _, note in waiter.got] == ["here"]

    def test_what_arrives_across_it_is_lost_and_what_comes_later_is_not(self) -> None:
        listener = Listener()
        stage = Stage(
            [[main(count_aloud)], [daemon(listener)]],
            Partition(frozenset({1}), 2.5, 4.5),
            detection=Detection(10.0, 20.0),
        )
        assert listener.got == [0, 1, 2, 5, 6, 7, 8]
        assert stage.toll.lost == 2

    def test_one_that_heals_before_it_is_noticed_ends_no_wait(self) -> None:
        waiter = Waiter()

        async def talk() -> None:
            await Sleep(5.0)
            await Send(0, "t", Packet(note="late"))

        Stage([[main(waiter)], [main(talk)]], Partition(frozenset({1}), 3.0, 3.5))
        assert [note for _, note in waiter.got] == ["late"]


class TestSilence:
    def test_a_wait_for_one_who_lives_and_is_silent_ends_with_the_timeout(self) -> None:
        waiter = Waiter(from_s=2.0)
        stage = Stage([[main(waiter)], [main(idle)]])
        assert waiter.lost_s == [22.0]
        (given_up,) = stage.toll.given_up
        assert given_up == (0, 1, 2.0, 22.0, True)

    def test_a_wait_for_anyone_has_no_end(self) -> None:
        with pytest.raises(DeadlockError):
            Stage([[main(silent)], [main(lambda: idle(1.0))]], Crash(1, at_s=0.5))


class TestCollectives:
    BOTH = Group("both", (0, 1))

    def test_a_dead_member_ends_the_wait_of_the_others(self) -> None:
        async def member() -> None:
            await Broadcast(self.BOTH, 0, Packet())

        with pytest.raises(StrandError, match=r"learner 1 is lost: it crashed at 3 s.*at 4 s"):
            Stage([[main(member)], [main(idle)]], Crash(1, at_s=3.0))

    def test_a_collective_with_a_member_that_is_known_to_be_dead_fails_at_once(self) -> None:
        async def member() -> None:
            await Sleep(8.0)
            await AllReduce(self.BOTH, None)

        with pytest.raises(StrandError, match=r"learner 1 is lost: .*at 8 s"):
            Stage([[main(member)], [main(idle)]], Crash(1, at_s=3.0))

    def test_it_waits_for_a_short_partition_to_heal(self) -> None:
        ends: list[float] = []

        async def member() -> None:
            await Sleep(3.0)
            await Broadcast(self.BOTH, 0, Packet())
            ends.append(await Now())

        Stage([[main(member)], [main(member)]], Partition(frozenset({1}), 2.5, 3.4))
        assert ends == [3.4, 3.4]

    def test_a_long_partition_ends_it(self) -> None:
        async def member() -> None:
            await Sleep(3.0)
            await Broadcast(self.BOTH, 0, Packet())

        with pytest.raises(StrandError, match=r"a partition keeps it apart from learner 0"):
            Stage([[main(member)], [main(member)]], Partition(frozenset({1}), 2.5, 9.0))

    def test_one_that_was_given_up_does_not_answer_what_is_waited_for_next(self) -> None:
        got: list[Any] = []

        async def first() -> None:
            await second()
            got.append((await Recv("t", 2)).packet.note)

        async def second() -> None:
            await Sleep(3.0)
            with pytest.raises(PeerLostError):
                await Broadcast(self.BOTH, 0, Packet(note="late"))

        async def talk() -> None:
            await Sleep(12.0)
            await Send(0, "t", Packet(note="next"))
            await Sleep(1.0)

        # It is over at 3 s, behind the partition, which is noticed and heals.
        parted = Partition(frozenset({1}), 2.5, 9.0)
        Stage([[main(first)], [main(second)], [main(talk)]], parted)
        assert got == ["next"]

    def test_who_leaves_a_group_waits_in_it_no_more(self) -> None:
        told: list[tuple[float, int]] = []

        async def member() -> None:
            for _ in range(2):
                with pytest.raises(PeerLostError, match="it has done with group 'both'") as lost:
                    await Broadcast(self.BOTH, 0, Packet())
                told.append((await Now(), lost.value.peer))

        async def heed() -> None:
            await Sleep(3.0)
            await Leave(Group("another", (0, 1)), 1)
            await Leave(self.BOTH, 1)

        stage = Stage([[main(member), main(heed, "heed")], [main(idle)]])
        assert told == [(3.0, 1), (3.0, 1)]
        assert stage.toll.given_up == ((0, 1, 0.0, 3.0, False),)
