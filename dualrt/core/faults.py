"""Faults that a scenario, a test or a user's own code can ask for, and what came of them.

Owns their meaning, the same in either mode. Must not know how a driver makes them happen: the
simulator stretches modelled times and loses modelled messages, the real runtime waits after a
computation or ends a process.

What learners see of faults (docs/decisions/0015-lost-peers.md):

- What is sent to a learner that is lost, is lost without a word: sends are buffered.
- Who waits for a message of a *named* peer gets `PeerLostError` once the driver has noticed that
  the peer is gone, and at once from then on until it is back. So does who waits in a collective
  with it. A wait for anyone's message goes on.
- A wait for a named peer that lives, and is silent for `Detection.timeout_s`, ends the same way:
  the message was lost, or is as late as if it were.

Times are seconds since the run began; an end may be inf.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple, Protocol, SupportsIndex, TypeAlias, cast

from dualrt.core.errors import UsageError

BEATS_A_TIMEOUT = 20
"""Heartbeats in the one timeout that bounds every wait: a peer is found lost within one of them."""


_OF_A_LINK = "Give the part of the speed that is left, above 0; for none at all use a partition"


@dataclass(frozen=True, slots=True)
class Slowdown:
    """A period in which a learner's device needs `factor` times as long; `end_s` may be inf.

    Where periods overlap their factors multiply. A factor below 1 is a faster device, which only
    the simulator can give.
    """

    start_s: float
    end_s: float
    factor: float


def slowness(slowdowns: Iterable[Slowdown], now_s: float) -> float:
    """The factor at an instant."""
    factor = 1.0
    for slowdown in slowdowns:
        if slowdown.start_s <= now_s < slowdown.end_s:
            factor *= slowdown.factor
    return factor


def _need(fault: Fault, key: str, can_be: bool, remedy: str) -> None:
    """Raise UsageError for a figure of a fault that cannot be."""
    if not can_be:
        value = getattr(fault, key)
        raise UsageError(f"{fault}: {key} = {value!r} cannot be. {remedy}")


def _need_period(fault: Partition | SlowCard | SlowPair | Weather) -> None:
    """It begins in a run, and lasts."""
    _need(fault, "start_s", 0 <= fault.start_s < math.inf, "Give seconds since the run began")
    _need(fault, "end_s", fault.end_s > fault.start_s, "Give an end after start_s, or leave it out")


def _whole(number: object) -> int | None:
    """It as an int, also of numpy's types; None if it is none."""
    try:
        return operator.index(cast(SupportsIndex, number))
    except TypeError:
        return None


@dataclass(frozen=True, slots=True)
class Crash:
    """A learner ends without a word, with all that it computes and all that is on its way to it.

    It crashes at `at_s`, or as it begins its step `at_step`, counted from 0. With `rejoin_after_s`
    it is started again that much later, as a new incarnation that knows nothing.

    Any number that is whole can be `at_step`. Raises UsageError unless exactly one of `at_s` and
    `at_step` is given, and for a number that cannot be one.
    """

    learner: int
    at_s: float | None = None
    at_step: int | None = None
    rejoin_after_s: float | None = None

    def __post_init__(self) -> None:
        if (self.at_s is None) == (self.at_step is None):
            raise UsageError(
                f"crash of learner {self.learner}: give exactly one of at_s and at_step"
            )
        at_s, after_s = self.at_s, self.rejoin_after_s
        _need(self, "at_s", at_s is None or 0 <= at_s < math.inf, "Give seconds since it began")
        step = _whole(self.at_step)
        _need(self, "at_step", self.at_step is None or step is not None, "Give a whole number")
        _need(self, "at_step", step is None or step >= 0, "Count steps from 0")
        later = after_s is None or 0 < after_s < math.inf
        _need(self, "rejoin_after_s", later, "Give seconds above 0, or leave it out: never")
        # Drivers tell a time from a step by its type.
        object.__setattr__(self, "at_s", None if at_s is None else float(at_s))
        object.__setattr__(self, "at_step", step)


@dataclass(frozen=True, slots=True)
class Partition:
    """A period in which the learners of `side` can talk among themselves, and with no other.

    What would arrive across it is lost. Raises UsageError for a period that ends before it starts.
    """

    side: frozenset[int]
    start_s: float
    end_s: float = math.inf

    def __post_init__(self) -> None:
        _need_period(self)

    def parts(self, one: int, other: int) -> bool:
        """Whether it lies between two learners."""
        return (one in self.side) != (other in self.side)


@dataclass(frozen=True, slots=True)
class SlowCard:
    """A period in which a server's network card has only `factor` of its capacity, above 0, to 1.

    Raises UsageError for another factor, and a period that ends before it starts.
    """

    server: int
    factor: float
    start_s: float
    end_s: float = math.inf

    def __post_init__(self) -> None:
        _need(self, "factor", 0 < self.factor <= 1, _OF_A_LINK)
        _need_period(self)


@dataclass(frozen=True, slots=True)
class SlowPair:
    """A period in which messages between two learners leave at `factor` of their speed, to 1.

    Raises UsageError as `SlowCard` does, and for a `pair` that is none.
    """

    pair: frozenset[int]
    factor: float
    start_s: float
    end_s: float = math.inf

    def __post_init__(self) -> None:
        _need(self, "pair", len(self.pair) == 2, "Name two learners")
        _need(self, "factor", 0 < self.factor <= 1, _OF_A_LINK)
        _need_period(self)


@dataclass(frozen=True, slots=True)
class Weather:
    """A period in which messages fare badly, each by chance; what one sends to oneself does not.

    Probabilities, drawn for each message in this order: it is lost (`drop`); it comes twice, the
    second time `delay_s` later (`duplicate`); it and all behind it on its connection come `delay_s`
    later (`delay`); it alone does, so that others overtake it (`reorder`). `pair` and `tags` say
    which messages; None means all.

    Raises UsageError for what is no probability, no time or no pair, for messages that are to come
    later by no time, and a period that ends before it starts.
    """

    drop: float = 0.0
    duplicate: float = 0.0
    delay: float = 0.0
    reorder: float = 0.0
    delay_s: float = 0.0
    pair: frozenset[int] | None = None
    tags: frozenset[str] | None = None
    start_s: float = 0.0
    end_s: float = math.inf

    def __post_init__(self) -> None:
        for key in ("drop", "duplicate", "delay", "reorder"):
            _need(self, key, 0 <= getattr(self, key) <= 1, "Give a probability, from 0 to 1")
        _need(self, "delay_s", 0 <= self.delay_s < math.inf, "Give seconds from 0")
        later = max(self.duplicate, self.delay, self.reorder) > 0
        _need(self, "delay_s", self.delay_s > 0 or not later, "Say how much later messages come")
        _need(self, "pair", self.pair is None or len(self.pair) == 2, "Name two learners, or none")
        _need_period(self)

    def meets(self, sender: int, receiver: int, tag: str, now_s: float) -> bool:
        """Whether it concerns a message that arrives now."""
        return (
            self.start_s <= now_s < self.end_s
            and (self.pair is None or self.pair == {sender, receiver})
            and (self.tags is None or tag in self.tags)
        )


Fault: TypeAlias = Crash | Partition | SlowCard | SlowPair | Weather
"""What can be added to a run. Slow devices are told apart, because real runs have them too."""


class Lasting(Protocol):
    """What is there for a time; `end_s` may be inf."""

    @property
    def start_s(self) -> float:
        """From when on."""

    @property
    def end_s(self) -> float:
        """Until when."""


def passes_by(fault: Crash | Lasting) -> bool:
    """Whether it begins after the run has, or ends, so that the run is not the same throughout."""
    return isinstance(fault, Crash) or fault.start_s > 0 or fault.end_s < math.inf


class Detection(NamedTuple):
    """How long a driver takes to notice.

    `detect_s` until a learner that is gone, or cannot be reached, counts as lost; `timeout_s` until
    the silence of one that lives does.
    """

    detect_s: float
    timeout_s: float

    @classmethod
    def within(cls, timeout_s: float) -> Detection:
        """What follows from the one timeout."""
        return cls(timeout_s / BEATS_A_TIMEOUT, timeout_s)


class GivenUp(NamedTuple):
    """One wait that ended with `PeerLostError`."""

    learner: int
    peer: int
    """Whom it waited for; of a collective, the member that was lost."""
    began_s: float
    ended_s: float
    silent: bool
    """Whether the peer lived and could be reached as the wait ended."""


@dataclass(frozen=True, slots=True)
class Toll:
    """What faults did to a run."""

    crashed: tuple[tuple[int, float], ...] = ()
    """(learner, second) of each crash."""
    rejoined: tuple[tuple[int, float], ...] = ()
    """(learner, second) of each return."""
    lost: int = 0
    """Messages that did not arrive: dropped, cut off by a partition, or of or to the dead."""
    duplicated: int = 0
    delayed: int = 0
    reordered: int = 0
    given_up: tuple[GivenUp, ...] = ()
    tags: tuple[str, ...] = ()
    """Of the messages between learners that have met the weather (`Weather`), whatever it did."""
