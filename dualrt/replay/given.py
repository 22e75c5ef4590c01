"""Given: one learner's turns, as they were.

Owns whose turn it is, and the mail that waits to be taken. Must not know what a turn does.

A course that comes before its turn pauses, and is woken when the turns before are over, or when the
message that it is to take has been sent. Who asks for another turn than it had is told so: then the
code, the data or the machine is not that of the run.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from dualrt.core.effects import Delivery, Packet
from dualrt.core.errors import RunError
from dualrt.core.order import SEND, TOOK, Turns
from dualrt.replay.fibers import Fiber, Fibers

T = TypeVar("T")


class Turn(Protocol):
    """What was kept of one turn."""

    @property
    def course(self) -> str:
        """Whose it was."""

    @property
    def what(self) -> str:
        """What it was: a change, "finished", "send offer", "took offer"."""

    @property
    def number(self) -> float:
        """A rank or a count."""


AS_IT_WAS = "Replay it with the same dualrt, scenario, data and code of your own"
"""What to do about one that diverges."""


class DivergedError(RunError):
    """A learner does something else than it did."""


class Given(Turns):
    """Those of learner `rank`, for code that runs in `fibers`."""

    def __init__(self, rank: int, turns: Sequence[Turn], fibers: Fibers) -> None:
        super().__init__()
        self.rank, self._turns, self._fibers = rank, turns, fibers
        self.taken = 0
        """Turns that are over."""
        self._early: dict[str, Fiber] = {}
        """Who waits for a turn, by course."""
        self._mail: defaultdict[tuple[str, int], deque[Packet]] = defaultdict(deque)

    @property
    def left(self) -> int:
        """Turns that nobody has taken."""
        return len(self._turns) - self.taken

    def _change(self, course: str, what: str, change: Callable[[], T]) -> T:
        self._await(course, what)
        try:
            return change()
        finally:
            # One that raises has had it, as in the run.
            self._next()

    def _know(self, course: str, what: str, number: float) -> float:
        knew = self._await(course, what).number
        self._next()
        return knew

    def send(self, tag: str, peer: int, receiver: Given, packet: Packet) -> None:
        """Send to a peer's turns, in turn."""
        course = self._course()
        sent_to = int(self._await(course, SEND + tag).number)
        if sent_to != peer:
            raise self._diverged(course, f"sends {tag!r} to learner {peer}, and not to {sent_to}")
        receiver.put(self.rank, tag, packet)
        self._next()

    def take(self, tag: str, peer: int | None) -> Delivery:
        """The message that was taken in this turn, once it has been sent."""
        course = self._course()
        sender = int(self._await(course, TOOK + tag).number)
        if peer is not None and peer != sender:
            raise self._diverged(course, f"takes {tag!r} of learner {peer}, and not of {sender}")
        while (tag, sender) not in self._mail:
            self._pause(course)
        mail = self._mail[tag, sender]
        packet = mail.popleft()
        if not mail:
            # Tags may be as many as steps.
            del self._mail[tag, sender]
        self._next()
        return Delivery(sender, packet)

    def put(self, sender: int, tag: str, packet: Packet) -> None:
        """A message has come."""
        self._mail[tag, sender].append(packet)
        self._wake()

    def check_over(self) -> None:
        """Raise DivergedError for a turn that nobody comes to."""
        if self.left:
            turn = self._turns[self.taken]
            raise self._diverged(turn.course, f"does not come to {turn.what!r},")

    def _course(self) -> str:
        course = self.course
        assert course is not None, "code that is in no course sends and takes nothing"
        return course

    def _await(self, course: str, what: str) -> Turn:
        while self.taken >= len(self._turns) or self._turns[self.taken].course != course:
            self._pause(course)
        turn = self._turns[self.taken]
        if turn.what != what:
            raise self._diverged(course, f"comes to {what!r}, and not to {turn.what!r}")
        return turn

    def _pause(self, course: str) -> None:
        self._early[course] = self._fibers.running
        self._fibers.pause()
        del self._early[course]

    def _next(self) -> None:
        self.taken += 1
        self._wake()

    def _wake(self) -> None:
        if self.left:
            fiber = self._early.get(self._turns[self.taken].course)
            if fiber is not None:
                self._fibers.wake(fiber)

    def _diverged(self, course: str, how: str) -> DivergedError:
        return DivergedError(
            f"learner {self.rank}, turn {self.taken + 1} of {len(self._turns)}: {course!r} {how} "
            f"as in the run. {AS_IT_WAS}"
        )
