"""Keeping: what a learner hands over to be kept, and takes back to go on from there.

Owns the words between learners, weights and whoever keeps their state. Must not know a file, nor
how learners agree on an instant.

What is kept of a run must fit together: whatever one learner has given to another, the other has
taken in both of their states, or in neither. An algorithm says how it comes to such an instant
(`Pause`), and awaits `Learner.between_steps` where it may be held.
"""

from __future__ import annotations

from enum import Enum
from typing import Any, NamedTuple, Protocol


class State(NamedTuple):
    """All that a learner needs to go on where it was, beside its scenario."""

    tensors: dict[str, Any]
    """By name, in the workload's own kind of vectors. Nobody writes to them any more."""
    values: dict[str, Any]
    """Numbers and texts, and lists and tables of these: what JSON can say."""


class Pause(Enum):
    """How the learners of an algorithm come to an instant at which their states fit together."""

    ALIGNED = "aligned"
    """Each at its own n-th point between two steps, as soon as it is there. For algorithms in
    lock-step: all pass the same points, and have taken there what was sent before."""
    DRAINED = "drained"
    """All wait between two steps until what is under way between them has come to its end. For
    algorithms in which no learner's step waits for another learner's."""


class Keeper(Protocol):
    """Keeps one learner's state, when it is time."""

    def due(self) -> bool:
        """Whether the learner must call `keep` before it goes on; asked between any two steps."""

    def keep(self) -> None:
        """Wait for the instant, keep the state, and return when the learner may go on."""
