"""What all lock-step algorithms have in common: one count of steps, the same for everyone.

Owns nothing but that count. A learner at step k knows that the run as a whole is at step k, so the
learning rate and the end are agreed without a message.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from dualrt.core.effects import Group
from dualrt.core.keeping import Pause
from dualrt.core.learner import Layout, Learner, Strand


class Synchronous(Learner):
    """A learner whose k-th step is everyone's k-th step."""

    def strands(self) -> Sequence[Strand]:
        """Training only."""
        return (Strand("train", self.train),)

    @abstractmethod
    async def train(self) -> None:
        """Step by step, until the agreed end."""

    @property
    def updates(self) -> int:
        """Step times learners: exact, and equal on all learners at the same step."""
        return self.step * self.seat.learners


class Collective(Synchronous):
    """A lock-step learner that talks through one collective over everyone, and needs no graph."""

    @classmethod
    def layout(cls, learners: int) -> Layout:
        """One group of all learners."""
        ranks = tuple(range(learners))
        return Layout(replicas=ranks, groups=(Group("all", ranks),), pause=Pause.ALIGNED)

    @property
    def everyone(self) -> Group:
        """The group of all learners."""
        return self.seat.layout.groups[0]

    @property
    def level(self) -> tuple[int, ...]:
        """Versions of a mean over all learners' weights of this step: everyone's first k."""
        return (self.step,) * self.seat.learners
