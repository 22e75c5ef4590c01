"""Learners whose strands are handed in: what they come to by themselves, they come to again."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch

from dualrt.core.effects import (
    AllReduce,
    Body,
    Compute,
    Cost,
    Group,
    Packet,
    Place,
    Recv,
    Report,
    Send,
    Sleep,
    Together,
)
from dualrt.core.errors import StrandError, UsageError
from dualrt.core.learner import Learner
from dualrt.core.records import Update
from dualrt.core.weights import Snapshot
from dualrt.observe.order import Header, Order, OrderWriter, read_orders
from dualrt.real.failures import FAILURE, FailedElsewhereError
from dualrt.replay.driver import Replay
from dualrt.replay.given import DivergedError
from tests.support.stage import Actor, actors, daemon, main, train


def run(learners: Sequence[Learner], folder: Path) -> None:
    """For real; their order is kept in `folder`."""
    with ExitStack() as stack:

        def witness(rank: int) -> OrderWriter:
            header = Header(
                rank=rank, learners=len(learners), learners_per_node=None, device="cpu", folder="."
            )
            return stack.enter_context(OrderWriter(folder, header))

        train(learners, witness=witness)


def again(learners: Sequence[Learner], orders: Sequence[Order]) -> Replay:
    replay = Replay(learners, [one.turns for one in orders], lambda _: None, timeout_s=30.0)
    replay.run()
    return replay


def whats(order: Order) -> list[str]:
    return [turn.what for turn in order.turns]


def test_a_strand_may_be_called_as_one_of_the_drivers(tmp_path: Path) -> None:
    """What the driver's own takes, here a failure elsewhere, is no turn of the learner's."""

    def cast() -> list[Actor]:
        waits, fails = actors([[], []])

        async def heed() -> None:
            waits.weights.snapshot()
            await Send(1, "ready", Packet())
            await Recv("nothing", 1)

        async def fail() -> None:
            await Recv("ready", 0)
            await Send(0, FAILURE, Packet(note="it must be"))
            await Recv("nothing", 0)

        waits.play(main(heed, "heed"))
        fails.play(main(fail))
        return [waits, fails]

    with pytest.raises(FailedElsewhereError, match="it must be"):
        run(cast(), tmp_path)
    orders = read_orders(tmp_path)
    assert whats(orders[0]) == ["snapshot", "send ready"]
    assert again(cast(), orders).given[0].left == 0


def test_weights_are_asked_by_keyword_as_well(tmp_path: Path) -> None:
    [learner] = actors([[]])
    weights = learner.weights

    async def body() -> None:
        read = weights.snapshot()
        weights.blend(mine=read, theirs=read, share=0.5)
        await Sleep(0.0)

    learner.play(main(body))
    run([learner], tmp_path)
    assert whats(read_orders(tmp_path)[0]) == ["snapshot", "blend", "slept"]


def test_a_change_that_raises_has_had_its_turn(tmp_path: Path) -> None:
    def cast() -> list[Actor]:
        [learner] = actors([[]])

        async def body() -> None:
            too_short = Snapshot(torch.zeros(2), ())
            with pytest.raises(RuntimeError):
                learner.weights.adopt(too_short)
            learner.weights.snapshot()
            await Sleep(0.0)

        learner.play(main(body))
        return [learner]

    run(cast(), tmp_path)
    replay = again(cast(), read_orders(tmp_path))
    replay.check_over()
    assert replay.given[0].taken == 3


def test_a_mean_is_there_for_all_when_anybody_goes_on() -> None:
    """It may be in the place of weights, which are looked at where the replay is ended."""
    pair, vectors = Group("pair", (0, 1)), [torch.tensor([1.0]), torch.tensor([3.0])]

    def strand(rank: int) -> Callable[[], Body[None]]:
        async def body() -> None:
            await AllReduce(pair, vectors[rank], spent=True)
            await Report(Update(rank, 1, 0.0, 0.1, None, 0, 0, 1))

        return body

    def end(_: Update) -> None:
        replay.stop()

    cast = actors([[main(strand(rank))] for rank in range(2)])
    replay = Replay(cast, [[], []], end, timeout_s=30.0)
    replay.run()
    assert [vector.item() for vector in vectors] == [2.0, 2.0]


def test_who_sleeps_until_something_is_so_sleeps_as_often_again(tmp_path: Path) -> None:
    """It shares with another strand what is no turn; it must not go on for ever."""

    def cast() -> list[Actor]:
        [learner] = actors([[]])
        there = threading.Event()

        async def sleeps() -> None:
            while not there.is_set():
                await Sleep(0.0001)

        async def sets() -> None:
            for _ in range(20):
                learner.weights.snapshot()
                await Sleep(0.0001)
            there.set()

        learner.play(main(sleeps, "sleeps"), main(sets, "sets"))
        return [learner]

    run(cast(), tmp_path)
    [order] = read_orders(tmp_path)
    slept = sum(turn.course == "sleeps" for turn in order.turns)
    replay = again(cast(), [order])
    assert replay.given[0].taken >= len(order.turns) - slept


FAILURES: dict[str, Callable[[Learner], Body[None]]] = {}


def failing(body: Callable[[Learner], Body[None]]) -> Callable[[Learner], Body[None]]:
    FAILURES[body.__name__] = body
    return body


def _divide() -> float:
    return 1 / 0


DIVISION = Compute(_divide, Cost("division"), Place.HOST)


@failing
async def of_what_is_awaited(learner: Learner) -> None:
    await Sleep(0.0)
    await DIVISION


@failing
async def of_its_own(learner: Learner) -> None:
    await Sleep(0.0)
    _divide()


@failing
async def in_the_first_of_two(learner: Learner) -> None:
    # Of what is awaited together no error arises at the await.
    try:
        await Together(DIVISION, Sleep(0.0))
    except ZeroDivisionError:
        learner.weights.snapshot()


@failing
async def in_the_second_of_two(learner: Learner) -> None:
    async def part() -> None:
        await DIVISION

    await Together(Sleep(0.0), part())


@failing
async def that_asks_for_the_end(learner: Learner) -> None:
    await Sleep(0.0)
    raise SystemExit(0)


@pytest.mark.parametrize("how", FAILURES)
def test_a_failure_is_told_as_it_was_in_the_run(how: str, tmp_path: Path) -> None:
    def cast() -> list[Actor]:
        [learner] = actors([[]])
        learner.play(main(lambda: FAILURES[how](learner)))
        return [learner]

    with pytest.raises(StrandError) as there:
        run(cast(), tmp_path)
    with pytest.raises(StrandError) as here:
        again(cast(), read_orders(tmp_path))
    assert str(here.value) == str(there.value)
    assert type(here.value.__cause__) is type(there.value.__cause__)


def test_two_strands_that_draw_are_refused(tmp_path: Path) -> None:
    [learner] = actors([[]])

    async def draws() -> None:
        read = learner.weights.snapshot()
        await learner.gradient(read)
        await learner.gradient(read)

    async def draws_too() -> None:
        await learner.gradient(learner.weights.snapshot())

    learner.play(main(draws, "one"), main(draws_too, "other"))
    with pytest.raises(StrandError, match="both draw mini-batches") as refused:
        run([learner], tmp_path)
    assert isinstance(refused.value.__cause__, UsageError)


def test_parts_of_one_strand_may_draw(tmp_path: Path) -> None:
    [learner] = actors([[]])

    async def part() -> None:
        await learner.gradient(learner.weights.snapshot())

    async def draws() -> None:
        await part()
        await Together(part(), Sleep(0.0))

    learner.play(main(draws))
    run([learner], tmp_path)
    assert learner.draws == 2


def test_two_strands_of_one_name_are_refused(tmp_path: Path) -> None:
    [learner] = actors([[]])

    async def body() -> None:
        await Sleep(0.0)

    learner.play(main(body, "same"), daemon(body, "same"))
    with pytest.raises(UsageError, match="two strands are called 'same'"):
        run([learner], tmp_path)


def test_who_goes_on_after_its_last_turn_is_named(tmp_path: Path) -> None:
    def cast(looks: int) -> list[Actor]:
        [learner] = actors([[]])

        async def body() -> None:
            for _ in range(looks):
                learner.weights.snapshot()
            await Sleep(0.0)

        learner.play(main(body))
        return [learner]

    run(cast(2), tmp_path)
    [order] = read_orders(tmp_path)
    del order.turns[2:]
    replay = again(cast(3), [order])
    with pytest.raises(DivergedError, match="learner 0 goes on after its last turn"):
        replay.check_over()
