"""Training: how long, at what learning rate, with which optimizer.

Owns the `[training]` table, which both modes honour. Must not know a workload or an algorithm.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from dualrt.core import progress
from dualrt.scenario.quantities import Amount, Count, Flag, Positive, Table


class Constant(Table):
    """The same learning rate throughout."""

    kind: Literal["constant"] = Field(description="The same learning rate throughout.")
    rate: Positive = Field(description="The learning rate.")

    def build(self) -> progress.Schedule:
        """The schedule as learners use it."""
        return progress.Constant(self.rate)


class WarmupAnneal(Table):
    """The recipe of 1907.05701, sec. 5: linear warm-up by whole epochs, then annealing."""

    kind: Literal["warmup-anneal"] = Field(
        description="Linear warm-up by whole epochs, then a constant factor an epoch."
    )
    base: Positive = Field(description="Learning rate of the first epoch.")
    peak: Positive = Field(
        description="Learning rate after the warm-up; the papers' is 0.1 x total batch / 256."
    )
    warmup_epochs: Count = Field(
        default=10, description="The epoch, counted from 1, that runs at the peak."
    )
    decay: Positive = Field(
        default=1 / math.sqrt(2),
        description="Factor on the learning rate for each epoch after the warm-up.",
    )

    def build(self) -> progress.Schedule:
        """The schedule as learners use it."""
        return progress.WarmupAnneal(self.base, self.peak, self.warmup_epochs, self.decay)


class Optimizer(Table):
    """What turns a gradient into a step, on every learner by itself."""

    kind: Literal["sgd"] = Field(default="sgd", description="Stochastic gradient descent.")
    momentum: float = Field(
        default=0.0,
        strict=True,
        ge=0,
        lt=1,
        description="Factor on the running sum of gradients; the papers mostly use none.",
    )
    weight_decay: Amount = Field(
        default=0.0, description="Times the weights, is added to the gradient."
    )
    nesterov: Flag = Field(default=False, description="Look ahead along the momentum.")

    @field_validator("nesterov")
    @classmethod
    def _needs_momentum(cls, nesterov: bool, info: ValidationInfo) -> bool:
        # A momentum that is itself wrong is not among the data, and reported already.
        if nesterov and info.data.get("momentum") == 0:
            raise ValueError("there is no momentum to look ahead along: set momentum above 0")
        return nesterov


class Training(Table):
    """The course of a run, in epochs: passes over the pool that all learners draw from."""

    epochs: Positive = Field(
        description="Passes over the pool of samples, by all learners together; need not be whole."
    )
    schedule: Annotated[Constant | WarmupAnneal, Field(discriminator="kind")] = Field(
        description="Learning rate as a function of the epoch: a table whose `kind` says which."
    )
    optimizer: Optimizer = Field(
        default_factory=Optimizer, description="What turns a gradient into a step."
    )
    precision: Literal["float32", "bfloat16"] = Field(
        default="float32",
        description="What gradients are computed in: bfloat16 by torch.autocast, which leaves to "
        "float32 what needs it. Weights, gradients and averaging are float32 all the same.",
    )
    accumulate: Count = Field(
        default=1,
        description="In how many equal parts, one after another, a mini-batch is computed. The "
        "gradient is the same; activations take so many times less memory.",
    )
    clip_norm: Positive | None = Field(
        default=None,
        description="A gradient of a larger norm is scaled to this one when it is applied, as "
        "torch.nn.utils.clip_grad_norm_ does; one that is averaged before is, after. Left out: no "
        "limit.",
    )
    wire: Literal["full", "bfloat16", "float16", "top-k"] = Field(
        default="full",
        description="What learners that gossip send of each weight: all of it, or 16 bits, which "
        "halves the traffic. They then agree to about 0.4 % (bfloat16) or 0.05 % (float16, up to "
        "65,504) of a weight. Or the few weights, `wire_fraction` of all, that have changed most "
        "since they were averaged last. The sum over learners is conserved all the same.",
    )
    wire_fraction: float | None = Field(
        default=None,
        strict=True,
        gt=0,
        le=1,
        description='With wire = "top-k": which part of all weights a message carries; by default '
        "0.01.",
    )
    audit: Flag = Field(
        default=False,
        description="Check all along that averaging conserves the sum over learners; costs time.",
    )

    @field_validator("wire_fraction")
    @classmethod
    def _needs_top_k(cls, fraction: float | None, info: ValidationInfo) -> float | None:
        # A wire that is itself wrong is not among the data, and reported already.
        if fraction is not None and info.data.get("wire", "top-k") != "top-k":
            raise ValueError("is for wire = 'top-k' alone: set that too, or leave this out")
        return fraction
