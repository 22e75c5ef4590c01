"""The witness: what the invariants need to know of one run, told as it happens.

Owns the collecting, and the end of a run that would have none. Must not judge.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from dualrt.core.errors import RunError
from dualrt.core.records import Lane, Row, Span, Update


class EndlessError(RunError):
    """A run went on far beyond what its faults explain."""


@dataclass(slots=True)
class Witness:
    """An observer that keeps updates, and the longest wait of a strand that trains.

    Raises EndlessError once it is told of an update after `limit_s`, or beyond `limit_updates`.
    """

    limit_s: float = math.inf
    limit_updates: float = math.inf
    updates: list[tuple[float, Update]] = field(default_factory=list)
    _waits_s: dict[tuple[int, str], float] = field(default_factory=dict)
    _training: dict[tuple[int, str], None] = field(default_factory=dict)

    def span(self, span: Span) -> None:
        """Note how long a message was waited for."""
        self.bulk_spans(span.lane, (span.row,))

    def bulk_spans(self, lane: Lane, rows: Sequence[Row]) -> None:
        """The same for many."""
        strand = lane.learner, lane.strand
        if lane.kind == "gradient":
            self._training[strand] = None
        elif lane.kind.startswith("recv "):
            longest_s = max(end_s - start_s for start_s, end_s, *_ in rows)
            self._waits_s[strand] = max(longest_s, self._waits_s.get(strand, 0.0))

    def update(self, time_s: float, update: Update) -> None:
        """Keep it."""
        self.bulk_updates([(time_s, update)])

    def bulk_updates(self, applied: Sequence[tuple[float, Update]]) -> None:
        """Keep them."""
        self.updates += applied
        if applied and (applied[-1][0] > self.limit_s or len(self.updates) > self.limit_updates):
            raise EndlessError(
                f"still going after {applied[-1][0]:.6g} s and {len(self.updates)} updates, which "
                "is far beyond what its faults explain"
            )

    @property
    def longest_wait_s(self) -> float:
        """Of strands that compute gradients, for any one message."""
        return max((self._waits_s.get(strand, 0.0) for strand in self._training), default=0.0)

    def times_s(self, learner: int) -> Sequence[float]:
        """When a learner's updates were applied."""
        return [time_s for time_s, update in self.updates if update.learner == learner]
