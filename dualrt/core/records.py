"""Records: what both drivers say happened. Everything that people look at is made from these.

Owns the two kinds of record and the protocol of those who listen. Must not know where records go.

Times are seconds since the run began, virtual or real.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol


class Span(NamedTuple):
    """One effect of one strand, from the moment it was asked for to its answer."""

    learner: int
    strand: str
    kind: str
    """What it was: "gradient", "blend", "send offer", "recv answer", "allreduce all" ..."""
    start_s: float
    end_s: float
    bytes: int
    peer: int
    """The other learner; -1 where there is none."""
    step: int


class Update(NamedTuple):
    """One gradient applied to one learner's weights."""

    learner: int
    step: int
    """Updates that this learner has applied, this one included."""
    epoch: float
    """Global progress as this learner knew it."""
    learning_rate: float
    loss: float | None
    """Training loss of the mini-batch; None where nothing is computed."""
    staleness: int
    """Versions of any one learner's weights that entered these weights between the read of the
    weights that the gradient was taken at and its application: the maximum over learners."""
    missed: int
    """The same summed over all learners: every update that the gradient did not see."""
    samples: int
    """Samples that the gradient stands for."""


class Observer(Protocol):
    """Listens to a run. Called from one thread at a time."""

    def span(self, span: Span) -> None:
        """An effect was answered."""

    def update(self, time_s: float, update: Update) -> None:
        """An update was applied at `time_s`."""
