"""A story tells what was awaited, and keeps none of it alive."""

from __future__ import annotations

import gc
from typing import Any
from weakref import ref

import pytest

from dualrt.core.bodies import STORY_LENGTH, exhaust, new_story, told
from dualrt.core.effects import (
    AllReduce,
    Awaited,
    Body,
    Broadcast,
    Compute,
    Cost,
    Effect,
    Group,
    MeanGradient,
    Now,
    Packet,
    Place,
    Send,
    Together,
)

GROUP = Group("all", (0, 1))


class Vector:
    """What an effect brings along."""

    nbytes = 8

    def __call__(self) -> Any:
        return self

    def in_pieces(self, *_: Any) -> Any:
        return self


def bringing(kind: str) -> tuple[Effect[Any], ref[Vector]]:
    """An effect that holds a vector, and whether that is there."""
    vector = Vector()
    effects: dict[str, Effect[Any]] = {
        "Compute": Compute(vector, Cost("update"), Place.DEVICE),
        "Send": Send(1, "offer", Packet(body=vector)),
        "AllReduce": AllReduce(GROUP, vector),
        "MeanGradient": MeanGradient(vector, Cost("gradient"), GROUP, (4, 4)),
        "Broadcast": Broadcast(GROUP, 0, Packet(body=vector)),
        "Together": Together(Compute(vector, Cost("gradient"), Place.DEVICE)),
    }
    return effects[kind], ref(vector)


@pytest.mark.parametrize(
    "kind", ["Compute", "Send", "AllReduce", "MeanGradient", "Broadcast", "Together"]
)
def test_what_an_effect_brought_is_free_when_the_next_is_awaited(kind: str) -> None:
    first, there = bringing(kind)
    waiting: list[Awaited[Any]] = [first]
    del first
    story, expected = new_story(), ""

    async def body() -> None:
        await waiting.pop()
        await Now()

    def answer(effect: Effect[Any]) -> None:
        nonlocal expected
        if isinstance(effect, Now):
            gc.collect()
            assert there() is None
        else:
            assert there() is not None
            expected = told(effect)

    exhaust(body(), answer, story)
    assert [told(one) for one in story] == [expected, "Now()"]
    assert expected.startswith(kind)


def test_a_story_has_the_last_effects_and_the_one_under_way() -> None:
    story = new_story()

    async def body() -> None:
        for number in range(STORY_LENGTH):
            await Send(number, "offer", Packet())
        await bringing("Compute")[0]

    def answer(effect: Effect[Any]) -> None:
        if isinstance(effect, Compute):
            assert story[-1] is effect
            raise ValueError("no room")

    broken: Body[None] = body()
    with pytest.raises(ValueError, match="no room"):
        exhaust(broken, answer, story)
    assert [told(one) for one in story] == [
        *(f"Send offer to {number}, 0 bytes" for number in range(1, STORY_LENGTH)),
        "Compute update on device",
    ]
