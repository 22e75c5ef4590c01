"""Faults: what goes wrong during a run, on purpose.

Owns the `[faults]` table. Both modes honour stragglers and crashes; the others are
simulated only.
"""

from __future__ import annotations

import math
from typing import Annotated, Self

from pydantic import Field, model_validator

from dualrt.core import faults
from dualrt.core.faults import BEATS_A_TIMEOUT, Detection, Fault
from dualrt.scenario.quantities import (
    Amount,
    Cap,
    Factor,
    Index,
    Name,
    Positive,
    Table,
    without_default,
)

Probability = Annotated[float, Field(strict=True, ge=0, le=1)]
Part = Annotated[float, Field(strict=True, gt=0, le=1)]
"""More than nothing, at most the whole: what is left of a link."""
Pair = tuple[Index, Index]


class Period(Table):
    """A fault that lasts for a time, or throughout."""

    start_s: Amount = Field(
        default=0.0, description="When it begins, in seconds since the run began."
    )
    end_s: Cap = Field(
        default=math.inf,
        description="When it is over, in seconds since the run began; left out (or `inf`): never.",
        json_schema_extra=without_default,
    )


class Straggler(Period):
    """A learner whose computations take longer, for a time or throughout."""

    learner: Index = Field(description="The slow learner's rank, counted from 0.")
    factor: Factor = Field(
        description="How many times as long its computations take; 10 is ten times slower."
    )


class Crash(Table):
    """A learner that ends without a word, and may come back knowing nothing."""

    learner: Index = Field(description="Who crashes: a rank, counted from 0.")
    at_s: Amount | None = Field(
        default=None, description="When, in seconds since the run began; or else give at_step."
    )
    at_step: Index | None = Field(
        default=None, description="As it begins its step of this number, counted from 0."
    )
    rejoin_after_s: Positive | None = Field(
        default=None,
        description="How much later it is started again, to take a live learner's weights; left "
        "out: never.",
    )

    @model_validator(mode="after")
    def _when(self) -> Self:
        if (self.at_s is None) == (self.at_step is None):
            raise ValueError("needs either at_s or at_step, and not both")
        return self

    def build(self) -> faults.Crash:
        """The fault as drivers take it."""
        return faults.Crash(self.learner, self.at_s, self.at_step, self.rejoin_after_s)


class Partition(Period):
    """Learners, or whole servers, that nobody else can reach for a time."""

    learners: tuple[Index, ...] | None = Field(
        default=None, description="Ranks on one side; they reach each other, and nobody else."
    )
    servers: tuple[Index, ...] | None = Field(
        default=None, description="The same by server, counted from 0, with all learners on it."
    )

    @model_validator(mode="after")
    def _side(self) -> Self:
        if (self.learners is None) == (self.servers is None):
            raise ValueError("needs either learners or servers, and not both")
        return self

    def build(self, learners: int, learners_per_server: int) -> faults.Partition:
        """The fault as drivers take it."""
        return faults.Partition(self.side(learners, learners_per_server), self.start_s, self.end_s)

    def side(self, learners: int, learners_per_server: int) -> frozenset[int]:
        """Those of so many learners that are on one side; they fill servers in their order."""
        if self.learners is not None:
            return frozenset(self.learners)
        cut_off = frozenset(self.servers or ())
        return frozenset(rank for rank in range(learners) if rank // learners_per_server in cut_off)


class SlowLink(Period):
    """A server's network card, or the way between two learners, that carries less for a time."""

    server: Index | None = Field(
        default=None, description="Whose network card, counted from 0; or else give pair."
    )
    pair: Pair | None = Field(
        default=None,
        description="Two ranks: messages between them leave at a part of their usual speed.",
    )
    factor: Part = Field(
        description="The part of its speed that is left, above 0; for none at all use partitions."
    )

    @model_validator(mode="after")
    def _which(self) -> Self:
        if (self.server is None) == (self.pair is None):
            raise ValueError("needs either server or pair, and not both")
        return self

    def build(self) -> faults.SlowCard | faults.SlowPair:
        """The fault as drivers take it."""
        if self.server is not None:
            return faults.SlowCard(self.server, self.factor, self.start_s, self.end_s)
        return faults.SlowPair(frozenset(self.pair or ()), self.factor, self.start_s, self.end_s)


class Messages(Period):
    """Messages that fare badly, each by chance; what a learner sends to itself does not."""

    drop: Probability = Field(default=0.0, description="Probability that one is lost.")
    duplicate: Probability = Field(
        default=0.0,
        description="Probability that one comes twice, the second time delay_s later; refused of "
        "algorithms that would count it twice.",
    )
    delay: Probability = Field(
        default=0.0,
        description="Probability that one, with all behind it on its way, comes delay_s later.",
    )
    reorder: Probability = Field(
        default=0.0,
        description="Probability that one alone comes delay_s later, and is overtaken; refused of "
        "algorithms that would take it for another.",
    )
    delay_s: Amount = Field(
        default=0.0, description="How much later those come that are repeated, delayed, overtaken."
    )
    pair: Pair | None = Field(
        default=None, description="Only between these two ranks; left out: between any."
    )
    tags: tuple[Name, ...] | None = Field(
        default=None,
        description='Only messages of these kinds, say ["offer", "answer"]; left out: all.',
    )

    @model_validator(mode="after")
    def _later(self) -> Self:
        if max(self.duplicate, self.delay, self.reorder) > 0 and self.delay_s == 0:
            raise ValueError("says that messages come later, and not how much: give delay_s")
        return self

    def build(self) -> faults.Weather:
        """The fault as drivers take it."""
        return faults.Weather(
            **self.model_dump(exclude={"pair", "tags"}),
            pair=None if self.pair is None else frozenset(self.pair),
            tags=None if self.tags is None else frozenset(self.tags),
        )


class Faults(Table):
    """What goes wrong."""

    stragglers: tuple[Straggler, ...] = Field(default=(), description="Slow learners.")
    crashes: tuple[Crash, ...] = Field(
        default=(), description="Learners that end without a word; their processes, in a real run."
    )
    partitions: tuple[Partition, ...] = Field(
        default=(), description="Learners that others cannot reach; simulated only."
    )
    links: tuple[SlowLink, ...] = Field(
        default=(), description="Links that carry less; simulated only."
    )
    messages: tuple[Messages, ...] = Field(
        default=(), description="Messages that are lost, repeated or late; simulated only."
    )
    detect_s: Positive | None = Field(
        default=None,
        description="How long until a learner that is gone or cannot be reached counts as lost; "
        f"{BEATS_A_TIMEOUT} times that until the silence of one that lives does. Left out: a "
        f"{BEATS_A_TIMEOUT}th of real.timeout_s. Simulated only.",
    )

    def build(self, learners: int, learners_per_server: int) -> tuple[Fault, ...]:
        """All but the stragglers, as drivers take them."""
        return (
            *(crash.build() for crash in self.crashes),
            *(partition.build(learners, learners_per_server) for partition in self.partitions),
            *(link.build() for link in self.links),
            *(messages.build() for messages in self.messages),
        )

    def detection(self, timeout_s: float) -> Detection:
        """How soon a lost learner is noticed; `timeout_s` is what real runs wait for a peer."""
        if self.detect_s is not None:
            timeout_s = BEATS_A_TIMEOUT * self.detect_s
        return Detection.within(timeout_s)

    def simulated_only(self) -> tuple[str, ...]:
        """The keys that are set and that real runs cannot honour."""
        keys = ("partitions", "links", "messages", "detect_s")
        return tuple(key for key in keys if getattr(self, key))

    @property
    def pass_by(self) -> bool:
        """Whether any begins after the run has, or ends."""
        periods = (*self.stragglers, *self.partitions, *self.links, *self.messages)
        return bool(self.crashes) or any(map(faults.passes_by, periods))
