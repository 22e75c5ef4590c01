"""Bodies: how a driver whose threads may wait brings one to its end.

Owns the loop between a body and its answers, and the story of it that an error tells. Must not know
what an answer is, nor where it comes from. The simulator, which cannot wait, has a loop of its own
(`dualrt.sim.process`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

from dualrt.core.effects import Awaited, Body, Effect, Leave, Now, Recv, Report, Sleep, describe

STORY_LENGTH = 8
"""How many last effects an error tells."""

Story: TypeAlias = "deque[Effect[Any] | str]"
"""The last effects of a body, oldest first. Those that `exhaust` has had answered are there as what
`told` says of them, if they hold vectors."""

_LIGHT = frozenset((Leave, Now, Recv, Report, Sleep))
"""Effects that hold no vector."""


def new_story() -> Story:
    """One in which nothing has happened yet."""
    return deque(maxlen=STORY_LENGTH)


def told(one: Effect[Any] | str) -> str:
    """A line of a story."""
    return one if isinstance(one, str) else describe(one)


def exhaust(
    body: Body[Any],
    answer: Callable[[Effect[Any]], Any],
    story: Story,
    *,
    passes_by: tuple[type[Exception], ...] = (),
) -> Any:
    """What `body` returns when `answer` has answered all its effects; raises what it raises.

    An error of an answer arises at the await, but for those that pass the body by: these, as do
    errors that are no `Exception`, end it where it is.
    """
    advance: Callable[[], Effect[Any]] = partial(body.send, None)
    try:
        while True:
            try:
                effect = advance()
            except StopIteration as returned:
                return returned.value
            story.append(effect)
            try:
                answered = answer(effect)
            except passes_by:
                raise
            except Exception as error:
                advance = partial(body.throw, error)
            else:
                advance = partial(body.send, answered)
            if type(effect) not in _LIGHT:
                # It would keep its vectors for a step or two, and their memory from the next.
                story[-1] = describe(effect)
    finally:
        body.close()


def drop(awaited: Awaited[Any]) -> None:
    """A body that nobody will begin: of one that is merely forgotten Python says so."""
    if not isinstance(awaited, Effect):
        awaited.close()
