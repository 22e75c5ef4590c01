"""A process: one body under way in virtual time.

Owns the advancing of a coroutine, its story and its failure. Must not know what effects mean: it
asks its driver for each answer.

A process is *running* while its code runs, *waiting* after its driver answered PENDING, and *over*
once its body has returned. It is advanced by callbacks and no SimPy process stands behind it,
because a step costs several effects and each process switch would cost as much as the event itself.

It waits for one answer at a time. So what its driver must remember until then (the effect, and
since when) has its place in the process itself, and needs no closure for each effect.

Bodies that it waits for together are its *parts*, processes like itself. They serve again and again
for the bodies of its next `Together`, because a training step has one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from functools import partial
from typing import Any, Protocol, cast

from dualrt.core.effects import Body, Effect, describe
from dualrt.core.errors import StrandError
from dualrt.core.journal import Pen
from dualrt.core.learner import Learner

STORY_LENGTH = 8
"""How many last effects an error tells."""


class Pending:
    """The type of PENDING."""


PENDING = Pending()
"""Says that an answer will be pushed in later."""


class Answerer(Protocol):
    """What a process asks of its driver."""

    def answer(self, process: Process, effect: Effect[Any]) -> Any:
        """The answer to an effect, or PENDING."""


class Process:
    """Advances `body`, a part of a strand; calls `done` with what it returns.

    Parameters: the `driver` that answers; the `learner` and the `name` of the strand; for a part
    its `parent`, whose pens (what writes spans, by kind) it shares, and its `place` among the
    results.
    """

    __slots__ = (
        "_answer_to",
        "_body",
        "_done",
        "_driver",
        "_send",
        "_spare",
        "effect",
        "learner",
        "name",
        "over",
        "parent",
        "parts",
        "pens",
        "place",
        "remaining",
        "results",
        "since_s",
        "story",
        "work",
    )

    effect: Any
    """What it waits for; set with every effect."""
    since_s: float
    """Since when, or from when on it was under way; set by the driver, as is the next."""
    work: Callable[[], Any]
    """What is to be computed when the time has passed."""
    results: list[Any]
    """What its parts have returned so far."""
    remaining: int
    """How many of them are under way, and itself while it starts them."""

    def __init__(
        self,
        driver: Answerer,
        learner: Learner,
        name: str,
        body: Body[Any],
        done: Callable[[Process, Any], None],
        parent: Process | None = None,
        place: int = 0,
    ) -> None:
        self._driver, self.learner, self.name = driver, learner, name
        self._answer_to = driver.answer
        self._body, self._send, self._done = body, body.send, done
        self.parent, self.place = parent, place
        self.pens: dict[str, Pen] = {} if parent is None else parent.pens
        self.parts: Sequence[Process] = ()
        """Those that run in its stead while it waits for them together."""
        self._spare: list[Process] = []
        self.over = False
        self.story: deque[Effect[Any]] = deque(maxlen=STORY_LENGTH)

    def split(
        self, bodies: Sequence[Body[Any]], done: Callable[[Process, Any], None]
    ) -> Sequence[Process]:
        """Its parts from now on, one for each body, to be resumed; `done` as for a process."""
        spare, many = self._spare, len(bodies)
        self.results, self.remaining = [None] * many, many + 1
        if len(spare) != many:
            make = partial(Process, self._driver, self.learner, self.name)
            spare = [make(body, done, self, place) for place, body in enumerate(bodies)]
            self._spare = spare
        else:
            for part, body in zip(spare, bodies, strict=True):
                part._body, part._send, part._done = body, body.send, done
                part.over = False
                part.story.clear()
        self.parts = spare
        return spare

    def resume(self, answer: Any = None, push: Callable[[Any], Effect[Any]] | None = None) -> None:
        """Push an answer in, and go on until an answer is pending or the body returns.

        `push` says how it is pushed in, if it is no answer. Raises StrandError when the body
        raises.
        """
        send, answer_to, tell = self._send, self._answer_to, self.story.append
        push = push or send
        try:
            while answer is not PENDING:
                effect = self.effect = push(answer)
                tell(effect)
                try:
                    push, answer = send, answer_to(self, effect)
                except StrandError:
                    # Not ours: the answer woke another process, which failed.
                    raise
                except Exception as error:
                    push, answer = self._body.throw, error
        except StopIteration as returned:
            self.over = True
            self._done(self, returned.value)
        except StrandError:
            raise
        except Exception as cause:
            raise self._failure(cause) from cause

    def raise_at_await(self, error: Exception) -> None:
        """Let an error of awaited work arise at the await, as it does in a real strand.

        Raises StrandError when the body does not catch it.
        """
        self.resume(error, self._body.throw)

    def close(self) -> None:
        """Drop the body, and those of its parts, without running them further."""
        self._body.close()
        for part in self.parts:
            part.close()

    def waiting(self) -> Iterator[Process]:
        """Itself, and its parts, as far as they are not over."""
        if self.over:
            return
        yield self
        for part in self.parts:
            yield from part.waiting()

    def kill(self) -> None:
        """Drop the body, and its parts; an answer that was pending is ignored when it comes."""
        self._body.close()
        for part in self.parts:
            part.kill()
        # Every resume would have to ask whether it is dead; so what is left returns at once.
        self._body, self._done = cast(Body[Any], _nothing()), _ignore
        self._send = self._body.send

    def __str__(self) -> str:
        waits = describe(self.story[-1]) if self.story else "its start"
        return (
            f"learner {self.learner.rank}, strand {self.name!r}, step {self.learner.draws}: "
            f"waits for {waits}"
        )

    def _failure(self, cause: Exception) -> StrandError:
        story = [describe(effect) for effect in self.story]
        return StrandError(self.learner.rank, self.name, self.learner.draws, story, cause)


def _nothing() -> Generator[Any, Any, None]:
    """Returns at once, however often it is asked, where a closed coroutine would complain."""
    yield from ()


def _ignore(process: Process, result: Any) -> None:
    """Nobody waits for a dead process."""
