"""Curve: the course of a run, in a bounded number of points.

Owns the thinning. Must not know where updates come from.

Updates fall into bins of time that are 2**k seconds wide, and a bin keeps sums. While more than
`LIMIT` bins are occupied the width doubles, at the latest when somebody looks. The width that
results is the least power of two at which the updates seen occupy no more than `LIMIT` bins,
whatever order they came in and however they were split over processes: so curves of several
processes merge into the curve that one process would have drawn, with means equal to rounding.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

from dualrt.core.errors import RunError

LIMIT = 2000
"""Most points of a curve."""

ROOM = 4
"""How many times as many bins may be occupied until somebody looks: to thin them whenever there is
one too many would cost more than all else that an update does here."""

FINEST = -20
"""Exponent of the first width: about a microsecond, below the time of any update."""


class Point(NamedTuple):
    """The mean of the updates of one bin."""

    time_s: float
    epoch: float
    loss: float | None
    """Mean training loss of the mini-batches; None where nothing is computed, NaN where one of
    them had none that is finite."""
    samples: int
    """Samples of all the bin's updates together."""


@dataclass(slots=True)
class Bin:
    """Sums over the updates of one interval of time."""

    index: int
    """The interval is [index, index + 1) times the width."""
    updates: int = 0
    time_s: float = 0.0
    epoch: float = 0.0
    losses: int = 0
    """Updates that had a finite loss."""
    loss: float = 0.0
    diverged: int = 0
    """Updates whose loss was not finite. Counted, because a sum would carry it into any file."""
    samples: int = 0

    def absorb(self, other: Bin) -> None:
        """Add another bin's sums."""
        self.updates += other.updates
        self.time_s += other.time_s
        self.epoch += other.epoch
        self.losses += other.losses
        self.loss += other.loss
        self.diverged += other.diverged
        self.samples += other.samples

    def point(self) -> Point:
        """The means."""
        return Point(
            self.time_s / self.updates,
            self.epoch / self.updates,
            self.mean_loss,
            self.samples,
        )

    @property
    def mean_loss(self) -> float | None:
        """As in `Point`."""
        if self.diverged:
            return math.nan
        return self.loss / self.losses if self.losses else None


class Curve:
    """Loss, epoch and samples against time."""

    __slots__ = ("_bins", "_bins_per_s", "_exponent")

    def __init__(self, exponent: int = FINEST, bins: Iterable[Bin] = ()) -> None:
        self._exponent = exponent
        self._bins_per_s = 2.0**-exponent
        self._bins = {one.index: one for one in bins}

    @property
    def exponent(self) -> int:
        """Of the bins' width, which is that power of 2 in seconds."""
        self._settle()
        return self._exponent

    def add(self, time_s: float, epoch: float, loss: float | None, samples: int) -> None:
        """Count one update, applied at `time_s` >= 0. Raises RunError for what is no time."""
        try:
            index = int(time_s * self._bins_per_s)
        except (OverflowError, ValueError) as error:
            raise RunError(
                f"an update comes at {time_s} s, which is no time: something takes longer than a "
                "number can hold. Look at workload.flops_per_sample and other costs of the "
                "workload, at the rates and times of [cluster] and its device, and at faults"
            ) from error
        one = self._bins.get(index)
        if one is None:
            one = self._bins[index] = Bin(index)
        one.updates += 1
        one.time_s += time_s
        one.epoch += epoch
        one.samples += samples
        if loss is None:
            pass
        elif math.isfinite(loss):
            one.losses += 1
            one.loss += loss
        else:
            one.diverged += 1
        if len(self._bins) > ROOM * LIMIT:
            self._settle()

    def merge(self, other: Curve) -> None:
        """Add another's updates."""
        theirs = Curve(other.exponent, map(replace, other._bins.values()))
        exponent = max(self.exponent, theirs.exponent)
        self._coarsen(exponent - self._exponent)
        theirs._coarsen(exponent - theirs._exponent)
        for one in theirs._in_order():
            self._put(one)

    def bins(self) -> list[Bin]:
        """The occupied bins, in order of time."""
        self._settle()
        return self._in_order()

    def _in_order(self) -> list[Bin]:
        return [self._bins[index] for index in sorted(self._bins)]

    def points(self) -> list[Point]:
        """At most `LIMIT` points, in order of time."""
        return [one.point() for one in self.bins()]

    def recent_loss(self, share: float = 0.05) -> float | None:
        """Mean loss of (at least) the last `share` of the mini-batches; None where there is none.

        One mini-batch is too noisy to say where a run stands. NaN if one was not finite.
        """
        bins = self.bins()
        wanted = math.ceil(share * sum(one.losses + one.diverged for one in bins))
        recent = Bin(0)
        while recent.losses + recent.diverged < wanted:
            recent.absorb(bins.pop())
        return recent.mean_loss

    def _settle(self) -> None:
        # The first bins are so fine that they double a dozen times at once.
        doublings, occupied = 0, set(self._bins)
        while len(occupied) > LIMIT:
            doublings += 1
            occupied = {index >> 1 for index in occupied}
        self._coarsen(doublings)

    def _coarsen(self, doublings: int) -> None:
        if not doublings:
            return
        fine = self._in_order()
        self._exponent += doublings
        self._bins_per_s = 2.0**-self._exponent
        self._bins = {}
        for one in fine:
            one.index >>= doublings
            self._put(one)

    def _put(self, one: Bin) -> None:
        mine = self._bins.setdefault(one.index, one)
        if mine is not one:
            mine.absorb(one)
