"""Faults: what goes wrong during a run, on purpose.

Owns the `[faults]` table, which both modes honour.
"""

from __future__ import annotations

import math

from pydantic import Field

from dualrt.scenario.quantities import Amount, Cap, Index, Table, without_default


class Straggler(Table):
    """A learner whose computations take longer, for a time or throughout."""

    learner: Index = Field(description="The slow learner's rank, counted from 0.")
    factor: float = Field(
        strict=True,
        ge=1,
        allow_inf_nan=False,
        description="How many times as long its computations take; 10 is ten times slower.",
    )
    start_s: Amount = Field(
        default=0.0, description="When it becomes slow, in seconds since the run began."
    )
    end_s: Cap = Field(
        default=math.inf,
        description="When it recovers, in seconds since the run began; left out (or `inf`): never.",
        json_schema_extra=without_default,
    )


class Faults(Table):
    """What goes wrong."""

    stragglers: tuple[Straggler, ...] = Field(default=(), description="Slow learners.")

    @property
    def pass_by(self) -> bool:
        """Whether any begins after the run has, or ends."""
        return any(one.start_s > 0 or one.end_s < math.inf for one in self.stragglers)
