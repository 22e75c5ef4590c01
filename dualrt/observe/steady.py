"""Steady: when the rate of a run is known well enough to stop, and what follows from it.

Owns the estimate of how long an update takes on average, and of how sure that is. Must not know how
a run is stopped, nor what its figures are called.

Times between updates hang together: a contended link slows one exchange after another, and who is
in step with whom drifts over a hundred rounds. So their standard error would be too small. The
method of batch means takes consecutive batches of updates that are long enough for their means to
be independent, and Student's t for the interval (A. M. Law, Simulation Modeling and Analysis,
sec. 9.5.3). What is long enough is not known beforehand, so the interval is taken from batches of
several lengths, and the widest counts: if short batches are correlated, longer ones scatter more
than they would by chance. If it is too wide, the run goes on until it is twice as long.

The first quarter of the run is left out: at the start all learners are in step, which they are
never again.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from dualrt.core.records import ChorusRow, Heed, Lane, Row, Span, Update

ROUNDS, UPDATES = 8, 128
"""Of the first batches, at least; in a round each learner does one mini-batch on average. Few
learners are watched for more rounds: two that happen to be as fast as each other stay in step for
hundreds, and there are no others among whom that would even out."""

BATCHES = 32
"""At so many the interval is looked at; at twice as many every two become one."""

STUDENT_T = {24: 2.0686576, 12: 2.2009852, 8: 2.3646243, 6: 2.5705818}
"""The 97.5 % quantile for a mean of so many batches: three quarters of `BATCHES`, and joined ones.

Written down, as loading scipy would take a tenth of the time that a whole steady run may."""


@dataclass(frozen=True, slots=True)
class Rate:
    """A measured rate: how long an update of anyone takes on average, once the run is under way."""

    seconds_per_update: float
    ci_percent: float
    """Half of the 95 % confidence interval, in per cent of the mean."""
    updates: int
    """How many there had been when it was measured."""
    time_s: float
    """When that was."""

    def whole_s(self, updates: float) -> float:
        """How long a run of so many updates takes: what has passed, and the rest at this rate."""
        return self.time_s + (updates - self.updates) * self.seconds_per_update


class Steadiness:
    """An observer that calls `enough`, once, when it knows the rate.

    Parameters: `updates_per_round`, in which each learner does one mini-batch on average; the
    half-width `percent` that the 95 % confidence interval is to have.
    """

    def __init__(self, updates_per_round: int, percent: float, enough: Callable[[], None]) -> None:
        self._percent, self._enough = percent, enough
        self._size = max(ROUNDS * updates_per_round, UPDATES)
        self._ends_s = [0.0]
        self._updates = 0
        self.rate: Rate | None = None
        """What is known so far; None until it was looked at."""
        self.reached = False
        """Whether it is known as well as was asked for."""

    def span(self, span: Span) -> None:
        """Nothing: a run's pace is counted in updates."""

    def update(self, time_s: float, update: Update) -> None:
        """Count one, and look at the rate when that ends a batch."""
        self._updates += 1
        if self.reached or self._updates % self._size:
            return
        self._ends_s.append(time_s)
        batches = len(self._ends_s) - 1
        if batches == 2 * BATCHES:
            self._ends_s = self._ends_s[::2]
            self._size *= 2
            batches = BATCHES
        if batches == BATCHES:
            self._look(time_s)

    @property
    def heeds(self) -> tuple[Heed, ...]:
        """It may have seen enough at any update."""
        return (self.update,)

    def bulk_spans(self, lane: Lane, rows: Sequence[Row]) -> None:
        """Nothing, as for one."""

    def chorus_spans(self, lanes: Sequence[Lane], rows: Sequence[ChorusRow]) -> None:
        """Nothing, as for one."""

    def bulk_updates(self, applied: Sequence[tuple[float, Update]]) -> None:
        """Nothing: they have been counted when they were applied."""

    def _look(self, now_s: float) -> None:
        kept_s = [end_s - start_s for start_s, end_s in pairwise(self._ends_s)][BATCHES // 4 :]
        mean_s = math.fsum(kept_s) / len(kept_s)
        if not mean_s:
            return
        percent = 100 * half_width(kept_s) / mean_s
        self.rate = Rate(mean_s / self._size, percent, self._updates, now_s)
        if percent < self._percent:
            self.reached = True
            self._enough()


def half_width(batches: Sequence[float]) -> float:
    """Half of the 95 % confidence interval of the mean of 24 values, neighbours correlated or not.

    The widest over the numbers of batches, from 24 to 6, into which they can be joined.
    """
    return max(_half_width(_joined(batches, number)) for number in STUDENT_T)


def _joined(batches: Sequence[float], number: int) -> list[float]:
    """Means of as many as give `number` of equal length."""
    length = len(batches) // number
    return [math.fsum(batches[i : i + length]) / length for i in range(0, len(batches), length)]


def _half_width(independent: Sequence[float]) -> float:
    return STUDENT_T[len(independent)] * statistics.stdev(independent) / math.sqrt(len(independent))
