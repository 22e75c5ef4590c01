"""A process: one body under way in virtual time.

Owns the advancing of a coroutine, its story and its failure. Must not know what effects mean: it
asks its driver for each answer.

A process is *running* while its code runs, *waiting* after its driver answered PENDING, and *over*
once its body has returned. It is advanced by callbacks and no SimPy process stands behind it,
because a step costs several effects and each process switch would cost as much as the event itself.

It waits for one answer at a time. So what its driver must remember until then (the effect, and
since when) has its place in the process itself, and needs no closure for each effect.

What it waits for together are its *parts*, processes like itself: each advances a body, or is over
with the answer to its one effect. They serve again and again for its next `Together`, because a
training step has one.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Protocol, TypeAlias, cast

from dualrt.core.bodies import new_story, told
from dualrt.core.effects import Awaited, Body, Effect
from dualrt.core.errors import StrandError
from dualrt.core.journal import Journal, Pens
from dualrt.core.learner import Learner


class Pending:
    """The type of PENDING."""


PENDING = Pending()
"""Says that an answer will be pushed in later."""


Answer: TypeAlias = "Callable[[Process, Any], Any]"
"""The answer to an effect of a process, or PENDING."""


class Answers(dict[type[Effect[Any]], Answer]):
    """What a driver answers to effects, by their exact type: a `match` would ask class by class.

    `otherwise` answers those that are not there.
    """

    def __init__(self, answers: Mapping[type[Effect[Any]], Answer], otherwise: Answer) -> None:
        super().__init__(answers)
        self._otherwise = otherwise

    def __missing__(self, _: type[Effect[Any]]) -> Answer:
        return self._otherwise


class Answerer(Protocol):
    """What a process asks of its driver."""

    @property
    def answers(self) -> Answers:
        """How it answers each effect."""

    @property
    def journal(self) -> Journal:
        """Where it writes what happened."""


class Process:
    """Advances a strand, or a part of one; calls `done` with what it returns.

    Parameters: the `driver` that answers; the `learner` and the `name` of the strand; what is
    `awaited`, a body or an effect; for a part its `parent`, whose pens (what writes spans, by kind)
    it shares, and its `place` among the results.
    """

    __slots__ = (
        "_answers",
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
        "rank",
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
        awaited: Awaited[Any],
        done: Callable[[Process, Any], None],
        parent: Process | None = None,
        place: int = 0,
    ) -> None:
        self._driver, self.learner, self.rank, self.name = driver, learner, learner.rank, name
        self._answers = driver.answers
        self._done = done
        self.parent, self.place = parent, place
        self.pens: Pens = Pens(driver.journal, self.rank, name) if parent is None else parent.pens
        self.parts: Sequence[Process] = ()
        """Those that run in its stead while it waits for them together."""
        self._spare: list[Process] = []
        self.story = new_story()
        self._await(awaited)

    def _await(self, awaited: Awaited[Any]) -> None:
        self.over = False
        if isinstance(awaited, Effect):
            self.effect, self._body, self._send = awaited, None, None
        else:
            self._body, self._send = awaited, awaited.send
            self.story.clear()

    def split(
        self, awaited: Sequence[Awaited[Any]], done: Callable[[Process, Any], None]
    ) -> Sequence[Process]:
        """Its parts from now on, one for each that is awaited, to be started; `done` as for it."""
        spare, many = self._spare, len(awaited)
        self.results, self.remaining = [None] * many, many + 1
        if len(spare) != many:
            make = partial(Process, self._driver, self.learner, self.name)
            spare = [make(child, done, self, place) for place, child in enumerate(awaited)]
            self._spare = spare
        else:
            for part, child in zip(spare, awaited, strict=True):
                part._done = done
                part._await(child)
        self.parts = spare
        return spare

    def start(self) -> None:
        """Go on until an answer is pending or the end is reached; raises as `resume` does."""
        if self._body is not None:
            self.resume()
            return
        effect = self.effect
        try:
            answer = self._answers[type(effect)](self, effect)
        except StrandError:
            raise
        except Exception as cause:
            raise self._failure(cause) from cause
        if answer is not PENDING:
            self.resume(answer)

    def resume(self, answer: Any = None, push: Callable[[Any], Effect[Any]] | None = None) -> None:
        """Push an answer in, and go on until an answer is pending or the end is reached.

        `push` says how it is pushed in, if it is no answer. Raises StrandError when the body
        raises.
        """
        send = self._send
        if send is None:
            self.over = True
            self._done(self, answer)
            return
        answers, tell = self._answers, self.story.append
        push = push or send
        try:
            while answer is not PENDING:
                effect = self.effect = push(answer)
                tell(effect)
                try:
                    push, answer = send, answers[type(effect)](self, effect)
                except StrandError:
                    # Not ours: the answer woke another process, which failed.
                    raise
                except Exception as error:
                    assert self._body is not None
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
        if self._body is None:
            raise self._failure(error) from error
        self.resume(error, self._body.throw)

    def close(self) -> None:
        """Drop the body, and those of its parts, without running them further."""
        if self._body is not None:
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
        if self._body is not None:
            self._body.close()
        for part in self.parts:
            part.kill()
        # Every resume would have to ask whether it is dead; so what is left returns at once.
        dead: Generator[Any, Any, None] = _nothing()
        self._body, self._send, self._done = cast(Body[Any], dead), dead.send, _ignore

    def __str__(self) -> str:
        waits = told(self._told[-1]) if self._told else "its start"
        return (
            f"learner {self.learner.rank}, strand {self.name!r}, step {self.learner.draws}: "
            f"waits for {waits}"
        )

    @property
    def _told(self) -> Sequence[Effect[Any] | str]:
        return (self.effect,) if self._body is None else self.story

    def _failure(self, cause: Exception) -> StrandError:
        story = [told(effect) for effect in self._told]
        return StrandError(self.learner.rank, self.name, self.learner.draws, story, cause)


def _nothing() -> Generator[Any, Any, None]:
    """Returns at once, however often it is asked, where a closed coroutine would complain."""
    yield from ()


def _ignore(process: Process, result: Any) -> None:
    """Nobody waits for a dead process."""
