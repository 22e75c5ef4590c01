"""A process advances one coroutine, and asks its driver for each answer."""

from __future__ import annotations

from typing import Any

import pytest

from dualrt.core.bodies import STORY_LENGTH
from dualrt.core.effects import Awaited, Effect, Now, Recv, Sleep
from dualrt.core.errors import StrandError
from dualrt.core.journal import Journal
from dualrt.sim.process import PENDING, Answers, Process
from tests.support.simulated import Log
from tests.support.stage import actors


class Prompter:
    """A driver that has its answers ready, and keeps what it was asked."""

    def __init__(self, *ready: Any) -> None:
        self.asked: list[Effect[Any]] = []
        self.answers = Answers({}, self._answer)
        self.journal = Journal(Log())
        self._ready = list(ready)

    def _answer(self, process: Process, effect: Effect[Any]) -> Any:
        self.asked.append(effect)
        answer = self._ready.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def process(prompter: Prompter, body: Awaited[Any], results: list[Any] | None = None) -> Process:
    [learner] = actors([[]])
    kept = [] if results is None else results
    return Process(prompter, learner, "strand", body, lambda _, result: kept.append(result))


async def three_times() -> list[float]:
    return [await Now() for _ in range(3)]


def test_ready_answers_are_pushed_in_until_the_body_returns() -> None:
    results: list[Any] = []
    process(Prompter(1.0, 2.0, 3.0), three_times(), results).start()
    assert results == [[1.0, 2.0, 3.0]]


def test_a_pending_answer_stops_it_until_the_answer_is_pushed_in() -> None:
    prompter = Prompter(1.0, PENDING, 3.0)
    results: list[Any] = []
    waiting = process(prompter, three_times(), results)
    waiting.start()
    assert len(prompter.asked) == 2
    assert results == []
    waiting.resume(2.0)
    assert results == [[1.0, 2.0, 3.0]]


def test_an_error_arises_at_the_await_and_the_body_may_go_on() -> None:
    async def careful() -> float:
        try:
            return await Now()
        except ValueError:
            return await Now()

    results: list[Any] = []
    waiting = process(Prompter(PENDING, 2.0), careful(), results)
    waiting.start()
    waiting.raise_at_await(ValueError("spoilt"))
    assert results == [2.0]


def test_an_error_of_the_driver_arises_at_the_await_too() -> None:
    async def careful() -> str:
        try:
            await Now()
        except ValueError as error:
            return str(error)
        return "no error"

    results: list[Any] = []
    process(Prompter(ValueError("spoilt")), careful(), results).start()
    assert results == ["spoilt"]


def test_another_process_s_failure_is_not_the_body_s_to_catch() -> None:
    [learner] = actors([[]])
    other = StrandError(learner.rank, "other", 0, [], ValueError("spoilt"))

    async def greedy() -> None:
        try:
            await Now()
        except StrandError:
            pytest.fail("the body caught it")

    with pytest.raises(StrandError) as raised:
        process(Prompter(other), greedy()).start()
    assert raised.value is other


@pytest.mark.parametrize("pending", [True, False])
def test_what_the_body_does_not_catch_is_told_with_its_story(pending: bool) -> None:
    error = ValueError("spoilt")

    async def fail() -> None:
        for _ in range(STORY_LENGTH):
            await Now()
        await Sleep(1.0)

    failing = process(Prompter(*range(STORY_LENGTH), PENDING if pending else error), fail())
    if pending:
        failing.start()
    with pytest.raises(StrandError) as raised:
        failing.raise_at_await(error) if pending else failing.start()
    # The oldest has been forgotten.
    assert raised.value.story == ("Now()",) * (STORY_LENGTH - 1) + ("Sleep(duration_s=1.0)",)
    assert raised.value.__cause__ is error


def test_it_says_what_it_waits_for() -> None:
    async def wait() -> None:
        await Recv("offer", 3)

    waiting = process(Prompter(PENDING), wait())
    assert str(waiting) == "learner 0, strand 'strand', step 0: waits for its start"
    waiting.start()
    assert str(waiting) == "learner 0, strand 'strand', step 0: waits for Recv offer from 3"
    waiting.close()


def test_a_closed_body_runs_no_further() -> None:
    course: list[str] = []

    async def body() -> None:
        try:
            await Now()
            course.append("went on")
        finally:
            course.append("closed")

    waiting = process(Prompter(PENDING), body())
    waiting.start()
    waiting.close()
    assert course == ["closed"]


def test_an_effect_alone_is_over_with_its_answer() -> None:
    results: list[Any] = []
    process(Prompter(1.0), Now(), results).start()
    waiting = process(Prompter(PENDING), Now(), results)
    waiting.start()
    assert str(waiting).endswith("waits for Now()")
    assert [*waiting.waiting()] == [waiting]
    waiting.resume(2.0)
    assert [*waiting.waiting()] == []
    assert results == [1.0, 2.0]


@pytest.mark.parametrize("pending", [True, False])
def test_an_error_of_an_effect_alone_is_told_with_it(pending: bool) -> None:
    error = ValueError("spoilt")
    failing = process(Prompter(PENDING if pending else error), Sleep(1.0))
    if pending:
        failing.start()
    with pytest.raises(StrandError) as raised:
        failing.raise_at_await(error) if pending else failing.start()
    assert raised.value.story == ("Sleep(duration_s=1.0)",)
    assert raised.value.__cause__ is error
