"""Progress: from counts of updates to epochs, learning rate and the agreed end.

Owns the arithmetic of a run's course. Must not know how counts are gossiped.

All learners draw mini-batches from one pool, so a fast learner does more of them (1904.04956,
sec. 3), and an epoch is over when as many samples as the pool holds have been drawn, whoever drew.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Protocol


class Schedule(Protocol):
    """Learning rate as a function of global progress."""

    def __call__(self, epoch: float) -> float:
        """The rate at `epoch`, a real number that is 0 at the start."""


@dataclass(frozen=True, slots=True)
class Constant:
    """The same learning rate throughout."""

    rate: float

    def __call__(self, epoch: float) -> float:
        return self.rate


@dataclass(frozen=True, slots=True)
class WarmupAnneal:
    """The recipe of 1907.05701, sec. 5: linear warm-up by whole epochs, then x 1/sqrt(2) an epoch.

    With `base` 0.1, `peak` 1.0 and 10 warm-up epochs the rate is 0.1 in the first epoch, 0.2 in the
    second, 1.0 in the tenth, 0.707 in the eleventh. The papers' peak is 0.1 x total batch / 256.
    """

    base: float
    peak: float
    warmup_epochs: int = 10
    decay: float = 1 / math.sqrt(2)

    def __call__(self, epoch: float) -> float:
        number = int(epoch) + 1
        if number >= self.warmup_epochs:
            return self.peak * self.decay ** (number - self.warmup_epochs)
        return self.base + (self.peak - self.base) * (number - 1) / (self.warmup_epochs - 1)


@dataclass(frozen=True, slots=True)
class Progress:
    """The course of one run.

    `samples_per_epoch` is the size of the pool, `samples_per_update` what one count of a version
    vector stands for: the batch of a learner, or of a super-learner. The run is over once
    `epochs` times the pool have been drawn; with `math.inf` never.
    """

    epochs: float
    samples_per_epoch: int
    samples_per_update: int
    schedule: Schedule
    updates: float = field(init=False)
    """Updates, by all learners together, that make the whole run: a whole number, or infinity."""

    def __post_init__(self) -> None:
        # The margin undoes rounding: 0.1 * 30 is above 3, and must not cost one more update.
        samples = self.epochs * self.samples_per_epoch
        updates = samples / self.samples_per_update
        if math.isfinite(updates):
            updates = max(1, math.ceil(updates - 1e-9))
        # Once and not when asked: each learner compares with it in each step.
        object.__setattr__(self, "updates", updates)

    def epoch(self, updates: float) -> float:
        """Passes over the pool after `updates` updates by all learners together."""
        return updates * self.samples_per_update / self.samples_per_epoch

    def learning_rate(self, updates: int) -> float:
        """The schedule's rate there."""
        return self.schedule(self.epoch(updates))

    def finished(self, updates: int) -> bool:
        """Whether the agreed end has been reached."""
        return updates >= self.updates
