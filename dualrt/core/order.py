"""Order: what a run depends on that neither its scenario nor its messages say.

Owns what such things are, and how a learner is made to ask for them. Must not know who answers: a
real run keeps them (`Witness`), a replay gives back what was kept.

Between two effects a strand computes from what it holds, and messages with one sender and one tag
come in the order that they were sent in. So, where nobody is lost, a learner's course depends on
three things more:

- in which order its strands come to its weights, to read or to change them: a *change*;
- which message each `Recv` takes, where several strands or senders compete: *took*;
- what the learner *knows* when it asks for the end, for the learning rate, or for what another of
  its strands changes (`Learner.known`).

All of these, and what is sent, are *turns* of one learner in one order, and no turn begins before
those that it depends on have ended, here or elsewhere. So to take turns in that order is always
possible, and gives the same weights.

A turn belongs to a *course*: a strand by its name, or the n-th part of what a course awaits
together, "train.1". Who asks outside of any, as a thread of a driver does, is not in the order.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar

from dualrt.core.errors import UsageError
from dualrt.core.learner import Learner, Strand
from dualrt.core.progress import Progress
from dualrt.core.weights import Weights

T = TypeVar("T")

CHANGES = (
    "snapshot",
    "view",
    "sent",
    "offer",
    "answer",
    "heed",
    "descend",
    "blend",
    "adopt",
    "begin_from",
    "known",
    "hear",
    "witness",
)
"""Methods of `Weights` that read or change what strands share."""

SEND, TOOK = "send ", "took "
"""What the turns of messages are called, with the tag after it."""


class _Here(threading.local):
    """What a thread is about."""

    course: str | None = None
    within = False
    """Whether a change is under way, of which others may be a part."""


class Turns(ABC):
    """Those of one learner, asked for by the thread that runs a course."""

    def __init__(self) -> None:
        self._here = _Here()
        self._drawer: str | None = None
        """The strand that draws mini-batches."""

    @property
    def course(self) -> str | None:
        """What this thread runs; None for what is not in the order."""
        return None if self._here.within else self._here.course

    @contextmanager
    def on(self, course: str | None) -> Iterator[None]:
        """Let this thread run `course` meanwhile; None: what is not in the order."""
        before, self._here.course = self._here.course, course
        try:
            yield
        finally:
            self._here.course = before

    def changed(self, what: str, change: Callable[[], T]) -> T:
        """The result of a change, in its turn; what it is made of is part of it."""
        course = self.course
        if course is None:
            return change()
        self._here.within = True
        try:
            return self._change(course, what, change)
        finally:
            self._here.within = False

    def draws(self) -> None:
        """This thread draws a mini-batch. Which one is no turn, so one strand draws all of them.

        Raises UsageError for a second.
        """
        if self.course is None:
            return
        strand, *_ = self.course.split(".")
        if self._drawer is None:
            self._drawer = strand
        elif strand != self._drawer:
            raise UsageError(
                f"strands {self._drawer!r} and {strand!r} both draw mini-batches, and which of "
                "them draws which cannot be kept. Let one strand take all gradients, or leave out "
                "--keep-order"
            )

    def knew(self, what: str, number: float) -> float:
        """What a learner knows, which is `number` if nothing else was kept."""
        course = self.course
        return number if course is None else self._know(course, what, number)

    @abstractmethod
    def _change(self, course: str, what: str, change: Callable[[], T]) -> T:
        """Let `course` make a change in its turn."""

    @abstractmethod
    def _know(self, course: str, what: str, number: float) -> float:
        """Let `course` know a number in its turn."""


class Witness(Turns):
    """Whoever keeps the order of a run as it happens."""

    @abstractmethod
    def sent(self, tag: str, peer: int, send: Callable[[], None]) -> None:
        """Send, such that messages with one tag and one peer are sent in the order of turns."""

    @abstractmethod
    def took(self, tag: str, sender: int) -> None:
        """This thread has taken a message. Not to be called when another may have been taken."""

    @abstractmethod
    def lost(self, peer: int) -> None:
        """This thread has been told that a peer is lost: what follows is not in order any more."""


def put_in_order(learner: Learner, turns: Turns) -> None:
    """Have a learner ask `turns`; before its strands begin."""
    for name in CHANGES:
        setattr(learner.weights, name, _in_turn(turns, name, learner.weights))
    seat = learner.seat
    learner.seat = replace(
        seat,
        progress=_Known(seat.progress, turns),
        drawing=turns.draws,
        knowing=turns.knew,
    )


def check_names(strands: Sequence[Strand]) -> None:
    """Raise UsageError for two strands of one name, whose turns nobody could tell apart."""
    names = [strand.name for strand in strands]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(
                f"two strands are called {name!r}, and an order that is kept cannot tell them "
                "apart. Give each a name of its own, or leave out --keep-order"
            )


def _in_turn(turns: Turns, name: str, weights: Weights[Any]) -> Callable[..., Any]:
    method = getattr(weights, name)

    def ask(*given: Any, **named: Any) -> Any:
        return turns.changed(name, lambda: method(*given, **named))

    return ask


class _Known(Progress):
    """A progress that hears from `turns` what the learner knows."""

    _turns: Turns

    def __init__(self, progress: Progress, turns: Turns) -> None:
        super().__init__(
            progress.epochs,
            progress.samples_per_epoch,
            progress.samples_per_update,
            progress.schedule,
        )
        object.__setattr__(self, "_turns", turns)

    def epoch(self, updates: float) -> float:
        return super().epoch(self._turns.knew("epoch", updates))

    def finished(self, updates: int) -> bool:
        return super().finished(int(self._turns.knew("finished", updates)))
