"""The simulator: what takes how long, what happens at once, and how a run ends.

What it has in common with the real runtime is in tests/contract.
"""

from __future__ import annotations

from typing import Any

import pytest

from dualrt.core.effects import (
    AllReduce,
    Broadcast,
    Compute,
    Cost,
    Group,
    Now,
    Packet,
    Place,
    Recv,
    Send,
    Sleep,
    Together,
)
from dualrt.core.errors import DeadlockError, StrandError, UsageError
from dualrt.sim.driver import SHOWN, Simulator
from dualrt.workloads.phantom import PhantomVector
from tests.support.simulated import Log, machine, simulate
from tests.support.stage import actors, daemon, in_simulation, main

# The device of `machine` does 1e12 flops/s; the host moves 1e11 bytes/s.
MILLISECOND = Cost("work", flops=1e9)
HOST_MILLISECOND = Cost("work", bytes_moved=100_000_000)


def nothing() -> None:
    pass


async def work(cost: Cost = MILLISECOND, on: Place = Place.DEVICE) -> None:
    await Compute(nothing, cost, on)


async def wait_for_ever() -> None:
    await Recv("what nobody sends")


def alone(*bodies: Any) -> Log:
    """One learner, a strand for each body."""
    return in_simulation([[main(body, f"strand {n}") for n, body in enumerate(bodies)]])


class TestTime:
    def test_a_computation_takes_what_the_device_says(self) -> None:
        assert alone(work).elapsed_s == pytest.approx(1e-3)

    def test_state_changes_when_the_time_has_passed(self) -> None:
        seen: list[tuple[float, bool]] = []
        done: list[None] = []

        async def compute() -> None:
            await Compute(lambda: done.append(None), MILLISECOND)

        async def watch() -> None:
            for _ in range(3):
                seen.append((await Now(), bool(done)))
                await Sleep(0.6e-3)

        alone(compute, watch)
        assert [changed for _, changed in seen] == [False, False, True]

    def test_a_device_does_one_thing_at_a_time(self) -> None:
        log = alone(work, work)
        assert log.elapsed_s == pytest.approx(2e-3)
        # The second is shown from when it started, and not from when it was asked for.
        starts = [span.start_s for span in log.spans]
        assert starts == [0.0, pytest.approx(1e-3)]

    def test_learners_have_a_device_each(self) -> None:
        assert in_simulation([[main(work)], [main(work)]]).elapsed_s == pytest.approx(1e-3)

    def test_the_host_s_memory_is_shared_by_the_learners_of_a_server(self) -> None:
        async def blend() -> None:
            await work(HOST_MILLISECOND, Place.HOST)

        script = [[main(blend)], [main(blend)]]
        apart = simulate(actors(script), machine(2, gpus_per_server=1))
        together = simulate(actors(script), machine(2, gpus_per_server=2))
        assert apart.elapsed_s == pytest.approx(1e-3)
        assert together.elapsed_s == pytest.approx(2e-3)

    def test_host_and_device_work_at_the_same_time(self) -> None:
        async def blend() -> None:
            await work(HOST_MILLISECOND, Place.HOST)

        assert alone(work, blend).elapsed_s == pytest.approx(1e-3)

    def test_two_sleeps_together_take_one(self) -> None:
        async def sleep() -> None:
            await Sleep(1.0)

        async def both() -> None:
            await Together(sleep(), sleep())

        assert alone(both).elapsed_s == 1.0

    def test_a_straggler_s_computations_take_its_factor(self) -> None:
        log = simulate(actors([[main(work)], [main(work)]]), machine(2, slow={1: 10.0}))
        assert [span.end_s for span in log.spans] == pytest.approx([1e-3, 10e-3])

    def test_what_needs_no_time_happens_at_once(self) -> None:
        times: list[float] = []

        async def talk() -> None:
            for number in range(100):
                await Send(1, "t", Packet(note=number))
            times.append(await Now())

        async def listen() -> None:
            for _ in range(100):
                await Recv("t")

        in_simulation([[main(talk)], [main(listen)]])
        assert times == [0.0]

    def test_any_number_of_instantaneous_parts_is_no_recursion(self) -> None:
        async def now() -> float:
            return await Now()

        async def busy() -> None:
            for _ in range(5_000):
                assert await Together(now(), now()) == (0.0, 0.0)

        alone(busy)


class TestCollectives:
    GROUP = Group("g", (0, 1))

    def test_a_collective_starts_when_its_last_member_arrives(self) -> None:
        ends: list[float] = []

        def member(rank: int, late_s: float) -> Any:
            async def body() -> None:
                await Sleep(late_s)
                await Broadcast(self.GROUP, 0, Packet() if rank == 0 else None)
                ends.append(await Now())

            return body

        in_simulation([[main(member(0, 0.0))], [main(member(1, 1.0))]])
        assert ends[0] == ends[1]
        assert 1.0 < ends[0] < 1.001

    def test_its_span_reaches_from_each_member_s_call_to_the_common_end(self) -> None:
        def member(late_s: float) -> Any:
            async def body() -> None:
                await Sleep(late_s)
                await AllReduce(self.GROUP, learners[0].weights.snapshot().vector)

            return body

        script = [[main(member(0.0))], [main(member(1.0))]]
        learners = actors(script)
        log = simulate(learners, machine(2))
        assert [(span.kind, span.start_s) for span in log.spans] == [
            ("allreduce", 0.0),
            ("allreduce", 1.0),
        ]
        assert log.spans[0].end_s == log.spans[1].end_s


class TestEnd:
    def test_a_run_lasts_until_the_last_strand_has_returned(self) -> None:
        async def last_words() -> None:
            await Send(1, "t", Packet(body=learners[0].weights.snapshot().vector))

        async def serve() -> None:
            await Recv("t")
            await work()

        learners = actors([[main(last_words)], [daemon(serve)]])
        log = simulate(learners, machine(2))
        assert log.elapsed_s == 0.0
        # And what was under way then was brought to its end.
        assert [span.kind for span in log.spans] == ["send t", "recv t", "work"]

    def test_a_daemon_that_sleeps_holds_nobody_up(self) -> None:
        course: list[float] = []

        async def tick() -> None:
            while True:
                await Sleep(1.0)
                course.append(await Now())

        async def sleep() -> None:
            await Sleep(2.5)

        in_simulation([[main(sleep), daemon(tick)]])
        assert course == [1.0, 2.0]

    def test_a_daemon_that_computes_for_ever_is_told(self) -> None:
        async def toil() -> None:
            while True:
                await work()

        with pytest.raises(StrandError, match="this daemon goes on by itself"):
            in_simulation([[main(work), daemon(toil)]])

    def test_daemons_that_keep_each_other_busy_are_told(self) -> None:
        async def serve() -> None:
            while True:
                await Send(1, "ball", Packet())
                await Recv("ball", 1)

        async def serve_back() -> None:
            while True:
                await Recv("ball", 0)
                await Send(0, "ball", Packet())

        with pytest.raises(StrandError, match="this daemon goes on by itself"):
            in_simulation([[main(work), daemon(serve)], [daemon(serve_back)]])

    def test_a_daemon_s_parts_are_daemons(self) -> None:
        async def wait() -> None:
            await Together(wait_for_ever(), wait_for_ever())

        assert in_simulation([[main(work), daemon(wait)]]).elapsed_s == pytest.approx(1e-3)

    def test_all_bodies_are_closed_when_a_run_fails(self) -> None:
        closed: list[str] = []

        async def wait(name: str) -> None:
            try:
                await wait_for_ever()
            finally:
                closed.append(name)

        async def both() -> None:
            await Together(wait("a"), wait("b"))

        async def serve() -> None:
            await wait("c")

        async def fail() -> None:
            await Sleep(1.0)
            raise ValueError("spoilt")

        with pytest.raises(Exception, match="spoilt"):
            in_simulation([[main(both), daemon(serve)], [main(fail)]])
        assert sorted(closed) == ["a", "b", "c"]

    def test_a_deadlock_of_many_names_some_and_counts_the_others(self) -> None:
        with pytest.raises(DeadlockError, match=r"(?s)learner 0, .*\n  and 4 more") as raised:
            in_simulation([[main(wait_for_ever)]] * (SHOWN + 4))
        assert str(raised.value).count("waits for") == SHOWN

    def test_what_crosses_a_link_after_the_end_is_not_of_the_run(self) -> None:
        async def talk() -> None:
            await Send(1, "t", Packet(body=PhantomVector(10**7)))
            await Sleep(1.0)

        async def listen() -> None:
            await Recv("t")

        learners = actors([[main(talk)], [daemon(listen)]])
        log = Log()
        simulator = Simulator(learners, machine(2, nic_bytes_per_s=1e6, latency_s=0.0), log)
        assert simulator.run() == 1.0
        [came_s] = [span.end_s for span in log.spans if span.kind == "recv t"]
        assert came_s == pytest.approx(10.0, rel=1e-4)
        (name, used), *others = simulator.links
        assert name in ("server0.nic.out", "server1.nic.in")
        assert used == pytest.approx(1.0, rel=1e-4)
        assert used <= 1
        assert all(part <= used for _, part in others)

    def test_daemons_that_wait_are_no_deadlock(self) -> None:
        assert in_simulation([[daemon(wait_for_ever)]]).elapsed_s == 0.0


def test_more_learners_than_devices_are_refused() -> None:
    with pytest.raises(UsageError, match="learner 2 has no GPU"):
        Simulator(actors([[], [], []]), machine(2), Log())
