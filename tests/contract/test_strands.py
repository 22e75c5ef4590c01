"""Time, computation, strands and their errors, in virtual time and for real."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import pytest

from dualrt.core.effects import (
    Compute,
    Cost,
    Effect,
    Now,
    Packet,
    Place,
    Recv,
    Report,
    Send,
    Sleep,
    Together,
)
from dualrt.core.errors import DeadlockError, RunError, StalledError, StrandError
from dualrt.core.records import Update
from tests.support.stage import Script, Stage, daemon, in_simulation, in_threads, main

WORK = Cost("work", flops=1e6, bytes_moved=8)


async def wait_for_ever() -> None:
    await Recv("what nobody sends")


def failing(error: Exception) -> Compute[None]:
    def work() -> None:
        raise error

    return Compute(work, WORK)


class TestTime:
    def test_now_never_goes_back_and_sleep_passes_at_least_its_time(self, perform: Stage) -> None:
        times: list[float] = []

        async def watch() -> None:
            for _ in range(5):
                times.append(await Now())
                await Sleep(0.01)
            times.append(await Now())

        perform([[main(watch)]])
        assert times[0] >= 0
        # The clock's resolution is far below a microsecond.
        assert all(later - earlier >= 0.01 - 1e-6 for earlier, later in pairwise(times))

    def test_a_run_lasts_as_long_as_its_longest_strand(self, perform: Stage) -> None:
        async def sleep() -> None:
            await Sleep(0.05)

        async def end() -> None:
            pass

        assert perform([[main(end), main(sleep, "sleep")], [main(end)]]).elapsed_s >= 0.05 - 1e-6


class TestCompute:
    @pytest.mark.parametrize("place", Place)
    def test_the_answer_is_what_the_work_returned(self, perform: Stage, place: Place) -> None:
        results: list[Any] = []

        async def compute() -> None:
            results.append(await Compute(lambda: 6 * 7, WORK, place))

        perform([[main(compute)]])
        assert results == [42]

    def test_an_error_in_work_arises_at_the_await_and_can_be_caught(self, perform: Stage) -> None:
        course: list[str] = []

        async def careful() -> None:
            for _ in range(2):
                try:
                    await failing(ValueError("spoilt"))
                except ValueError as error:
                    course.append(str(error))
            course.append(await Compute(lambda: "went on", WORK))

        perform([[main(careful)]])
        assert course == ["spoilt", "spoilt", "went on"]


class TestTogether:
    def test_results_come_in_the_order_of_the_parts(self, perform: Stage) -> None:
        results: list[Any] = []

        async def after(duration_s: float, result: str) -> str:
            await Sleep(duration_s)
            return result

        async def both() -> None:
            results.append(await Together(after(0.02, "slow"), after(0.0, "fast")))

        perform([[main(both)]])
        assert results == [("slow", "fast")]

    def test_parts_run_at_once(self, perform: Stage) -> None:
        # Each waits for the other: one after the other, they would never end.
        async def ask() -> str:
            await Send(0, "question", Packet())
            return (await Recv("reply")).packet.note  # type: ignore[no-any-return]  # a note

        async def reply() -> None:
            await Recv("question")
            await Send(0, "reply", Packet(note="yes"))

        results: list[Any] = []

        async def dialogue() -> None:
            results.append(await Together(ask(), reply()))

        perform([[main(dialogue)]])
        assert results == [("yes", None)]

    def test_parts_have_parts(self, perform: Stage) -> None:
        results: list[Any] = []

        async def leaf(number: int) -> int:
            return await Compute(lambda: number, WORK)

        async def pair(number: int) -> tuple[int, ...]:
            return await Together(leaf(number), leaf(number + 1))

        async def tree() -> None:
            results.append(await Together(pair(1), pair(3)))

        perform([[main(tree)]])
        assert results == [((1, 2), (3, 4))]

    def test_an_effect_may_be_a_part_by_itself(self, perform: Stage) -> None:
        results: list[Any] = []

        async def both() -> None:
            results.append(await Together(Compute(lambda: 1, WORK), Together(Sleep(0.0))))

        log = perform([[main(both)]])
        assert results == [(1, (None,))]
        assert [span.kind for span in log.spans] == ["work"]

    def test_an_error_in_an_effect_that_is_a_part_ends_the_run(self, perform: Stage) -> None:
        async def both() -> None:
            await Together(wait_for_ever(), failing(ValueError("spoilt")))

        with pytest.raises(StrandError, match="ValueError: spoilt") as raised:
            perform([[main(both)]])
        assert raised.value.story == ("Compute work on device",)

    def test_nothing_together_is_an_empty_tuple(self, perform: Stage) -> None:
        results: list[Any] = []

        async def nothing() -> None:
            results.append(await Together())

        perform([[main(nothing)]])
        assert results == [()]

    def test_an_error_in_a_part_ends_the_run_whatever_the_others_wait_for(
        self, perform: Stage
    ) -> None:
        async def fail() -> None:
            await failing(ValueError("spoilt"))

        async def both() -> None:
            try:
                await Together(wait_for_ever(), fail())
            except ValueError:
                pytest.fail("a part's error is not the whole's to catch")

        with pytest.raises(StrandError, match="ValueError: spoilt") as raised:
            perform([[main(both)]])
        assert raised.value.story == ("Compute work on device",)


class TestErrors:
    def test_an_uncaught_error_names_learner_strand_step_and_story(self, perform: Stage) -> None:
        spoilt = ValueError("spoilt")

        async def bystander() -> None:
            await wait_for_ever()

        async def fail() -> None:
            await Sleep(0.001)
            await Send(0, "t", Packet())
            await failing(spoilt)

        with pytest.raises(StrandError, match="ValueError: spoilt") as raised:
            perform([[main(bystander)], [main(bystander), main(fail, "train")]])
        error = raised.value
        assert (error.rank, error.strand, error.step) == (1, "train", 0)
        assert error.story == (
            "Sleep(duration_s=0.001)",
            "Send t to 0, 0 bytes",
            "Compute work on device",
        )
        assert error.__cause__ is spoilt

    @pytest.mark.parametrize("error", [ValueError("spoilt"), RunError("spoilt")], ids=repr)
    def test_an_error_between_awaits_is_told_alike(self, perform: Stage, error: Exception) -> None:
        async def fail() -> None:
            await Now()
            raise error

        with pytest.raises(StrandError, match="spoilt") as raised:
            perform([[main(fail)]])
        assert raised.value.story == ("Now()",)
        assert raised.value.__cause__ is error

    def test_an_error_in_a_daemon_ends_the_run(self, perform: Stage) -> None:
        async def fail() -> None:
            await Recv("cue")
            raise ValueError("spoilt")

        async def cue() -> None:
            await Send(0, "cue", Packet())
            await wait_for_ever()

        with pytest.raises(StrandError, match="strand 'serve', step 0: ValueError: spoilt"):
            perform([[main(cue), daemon(fail, "serve")]])

    def test_an_unknown_effect_raises(self, perform: Stage) -> None:
        @dataclass(frozen=True, slots=True)
        class Wish(Effect[None]):
            wish: str

        async def hope() -> None:
            await Wish("peace")

        with pytest.raises(StrandError, match=r"does not know the effect .*Wish\(wish='peace'\)"):
            perform([[main(hope)]])


class TestEnd:
    def test_a_learner_without_strands_is_fine(self, perform: Stage) -> None:
        assert perform([[], []]).spans == []

    def test_a_strand_that_returns_at_once_is_fine(self, perform: Stage) -> None:
        async def end() -> None:
            pass

        perform([[main(end)], [main(end), main(end, "other"), daemon(end)]])

    def test_what_is_in_flight_at_the_end_is_worked_off(self, perform: Stage) -> None:
        done: list[int] = []

        async def serve() -> None:
            while True:
                _, packet = await Recv("task")
                await Compute(partial(done.append, packet.note), WORK, Place.HOST)

        async def ask() -> None:
            for number in range(10):
                await Send(1, "task", Packet(note=number))

        async def end() -> None:
            pass

        perform([[main(ask)], [main(end), daemon(serve, "serve")]])
        assert done == list(range(10))

    def test_a_daemon_is_dropped_where_it_waits(self, perform: Stage) -> None:
        course: list[str] = []

        async def serve() -> None:
            await wait_for_ever()
            course.append("a daemon outlived the run")

        async def ask() -> None:
            await Sleep(0.001)
            course.append("asked")

        perform([[main(ask), daemon(serve)], [daemon(serve)]])
        assert course == ["asked"]

    def test_a_learner_with_nothing_to_do_answers_until_all_have_ended(
        self, perform: Stage
    ) -> None:
        async def serve() -> None:
            while True:
                sender, packet = await Recv("ping")
                await Send(sender, "pong", packet)

        echoes: list[Any] = []

        async def ask() -> None:
            await Sleep(0.02)
            await Send(1, "ping", Packet(note="still there"))
            echoes.append((await Recv("pong", 1)).packet.note)

        perform([[main(ask)], [daemon(serve)]])
        assert echoes == ["still there"]


class TestRecords:
    UPDATE = Update(
        learner=0,
        step=1,
        epoch=0.5,
        learning_rate=0.1,
        loss=None,
        staleness=0,
        missed=0,
        samples=8,
    )

    def test_a_report_reaches_the_observer_at_its_time(self, perform: Stage) -> None:
        async def report() -> None:
            await Sleep(0.01)
            await Report(self.UPDATE)

        [(time_s, update)] = perform([[main(report)]]).updates
        assert update == self.UPDATE
        assert time_s >= 0.01 - 1e-6

    def test_every_effect_that_takes_time_leaves_a_span(self, perform: Stage) -> None:
        async def act() -> None:
            await Compute(lambda: None, WORK)
            await Send(1, "ball", Packet())
            await Recv("ball", 1)

        async def react() -> None:
            await Recv("ball", 0)
            await Send(0, "ball", Packet())

        spans = perform([[main(act, "act")], [main(react, "react")]]).spans
        told = [(span.strand, span.kind, span.bytes, span.peer) for span in spans]
        assert [entry for entry in told if entry[0] == "act"] == [
            ("act", "work", 8, -1),
            ("act", "send ball", 0, 1),
            ("act", "recv ball", 0, 1),
        ]
        assert [entry for entry in told if entry[0] == "react"] == [
            ("react", "recv ball", 0, 0),
            ("react", "send ball", 0, 0),
        ]
        assert all(span.start_s <= span.end_s for span in spans)


class TestDeadlock:
    """Two learners that wait for each other: the one behaviour that cannot look the same."""

    SCRIPT: Script = ([main(wait_for_ever, "left")], [main(wait_for_ever, "right")])

    def test_the_simulator_sees_it_and_names_all_who_wait(self) -> None:
        with pytest.raises(DeadlockError) as raised:
            in_simulation(self.SCRIPT)
        for rank, strand in enumerate(("left", "right")):
            told = f"learner {rank}, strand '{strand}', step 0: waits for Recv what nobody sends"
            assert told in str(raised.value)

    def test_a_real_run_ends_when_patience_does(self) -> None:
        with pytest.raises(StrandError, match="what nobody sends") as raised:
            in_threads(self.SCRIPT, timeout_s=0.2)
        assert isinstance(raised.value.__cause__, StalledError)
