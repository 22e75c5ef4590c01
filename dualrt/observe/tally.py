"""Tally: the figures of a run, added up while it goes.

Owns the aggregation of records. Must not know a driver, nor how figures are shown.

Memory does not grow with the length of the run, but for one integer for each different staleness
that occurs. A real run has one tally a process, and they `merge`; counts, times and staleness come
out the same in any order of merging, the curve's means to rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, NamedTuple

import msgspec
import numpy as np

from dualrt.core.errors import UsageError
from dualrt.core.records import ChorusRow, Lane, Row, Span, Update
from dualrt.observe.chorus import columns
from dualrt.observe.curve import Bin, Curve
from dualrt.observe.distribution import Distribution
from dualrt.observe.kinds import (
    DEVICE,
    GRADIENT,
    RECEIVED_BYTES,
    SENT_BYTES,
    Activity,
    activity,
    word,
)


@dataclass(slots=True)
class Spent:
    """What the spans of one kind in one strand of one learner add up to."""

    count: int = 0
    seconds_s: float = 0.0
    bytes: int = 0


class _Plain(NamedTuple):
    """A tally in transit. `spent` holds (strand, kind, what they add up to) of each learner."""

    last_s: float
    samples: int
    missed: int
    spent: list[list[tuple[str, str, Spent]]]
    staleness: list[tuple[int, int]]
    exponent: int
    bins: list[Bin]


class Tally:
    """An observer that adds up; `learners` is their number in the whole run."""

    def __init__(self, learners: int) -> None:
        self.learners = learners
        self.staleness = Distribution()
        self.curve = Curve()
        self.last_s = 0.0
        """When the last record ended."""
        self.samples = 0
        """Samples of all updates together."""
        self.missed = 0
        """`Update.missed`, summed over all updates."""
        self._spent: list[dict[tuple[str, str], Spent]] = [{} for _ in range(learners)]

    def span(self, span: Span) -> None:
        """Add up one effect."""
        self.bulk_spans(span.lane, (span.row,))

    def bulk_spans(self, lane: Lane, rows: Sequence[Row]) -> None:
        """Add up effects of one lane."""
        learner, strand, kind = lane
        spent = self._spent[learner].setdefault((strand, kind), Spent())
        seconds_s, size, last_s = spent.seconds_s, 0, self.last_s
        for start_s, end_s, nbytes, _, _ in rows:
            seconds_s += end_s - start_s
            size += nbytes
            if end_s > last_s:  # noqa: PLR1730 - max() would take a third of the time
                last_s = end_s
        spent.count += len(rows)
        spent.seconds_s = seconds_s
        spent.bytes += size
        self.last_s = last_s

    def chorus_spans(self, lanes: Sequence[Lane], rows: Sequence[ChorusRow]) -> None:
        """Add up effects of many lanes, each as if its rows had come alone, to the bit."""
        starts_s, ends_s, sizes, _ = zip(*rows, strict=True)
        took_s = columns(ends_s) - columns(starts_s)
        spent = [
            self._spent[learner].setdefault((strand, kind), Spent())
            for learner, strand, kind in lanes
        ]
        before_s = np.array([[one.seconds_s] for one in spent])
        # Accumulated, since `sum` adds in an order of its own.
        seconds_s = np.add.accumulate(np.concatenate((before_s, took_s), axis=1), axis=1)
        for one, total_s in zip(spent, seconds_s[:, -1].tolist(), strict=True):
            one.count += len(rows)
            one.seconds_s = total_s
            one.bytes += sum(sizes)
        self.last_s = max(self.last_s, columns(ends_s).max().item())

    def update(self, time_s: float, update: Update) -> None:
        """Add up one update."""
        self.bulk_updates(((time_s, update),))

    def bulk_updates(self, applied: Sequence[tuple[float, Update]]) -> None:
        """Add up updates."""
        count, draw, last_s = self.staleness.add, self.curve.add, self.last_s
        for time_s, (_, _, epoch, _, loss, staleness, missed, samples) in applied:
            count(staleness)
            draw(time_s, epoch, loss, samples)
            self.missed += missed
            self.samples += samples
            if time_s > last_s:  # noqa: PLR1730 - as above
                last_s = time_s
        self.last_s = last_s

    def merge(self, other: Tally) -> None:
        """Add the tally of another process of the same run.

        Raises ValueError if the numbers of learners differ: then it is another run.
        """
        if other.learners != self.learners:
            raise ValueError(
                f"a tally of {other.learners} learners cannot be added to one of {self.learners}"
            )
        self.staleness.merge(other.staleness)
        self.curve.merge(other.curve)
        self.last_s = max(self.last_s, other.last_s)
        self.samples += other.samples
        self.missed += other.missed
        for mine, theirs in zip(self._spent, other._spent, strict=True):
            for key, spent in theirs.items():
                total = mine.setdefault(key, Spent())
                total.count += spent.count
                total.seconds_s += spent.seconds_s
                total.bytes += spent.bytes

    @property
    def updates(self) -> int:
        """Updates applied by all learners."""
        return self.staleness.total

    @property
    def missed_mean(self) -> float | None:
        """Updates by anyone that a gradient did not see, on average; None without updates."""
        return self.missed / self.updates if self.updates else None

    @property
    def steps_by_learner(self) -> list[int]:
        """Mini-batches whose gradient each learner computed."""
        return [
            sum(spent.count for (_, kind), spent in of_learner.items() if kind == GRADIENT)
            for of_learner in self._spent
        ]

    @property
    def steps(self) -> int:
        """Mini-batches of all learners."""
        return sum(self.steps_by_learner)

    @property
    def busy_s(self) -> list[float]:
        """Seconds that each learner's device spent on gradients and updates."""
        activities = map(self.seconds_by_activity, range(self.learners))
        return [sum(spent.get(one, 0.0) for one in DEVICE) for spent in activities]

    @property
    def bytes_sent(self) -> int:
        """Bytes of the bodies that learners handed to the network.

        A collective counts once for each member, with the size of its vector, however many times
        the algorithm underneath moves it.
        """
        return self._bytes(SENT_BYTES)

    @property
    def bytes_received(self) -> int:
        """Bytes of the bodies that came to learners; a collective counts as in `bytes_sent`."""
        return self._bytes(RECEIVED_BYTES)

    def seconds_by_activity(self, learner: int) -> dict[Activity, float]:
        """Seconds of a learner's spans, by activity; those that overlap add up."""
        training = {strand for strand, kind in self._spent[learner] if kind == GRADIENT}
        seconds: dict[Activity, float] = {}
        for (strand, kind), spent in self._in_order(learner):
            doing = activity(kind, trains=strand in training)
            seconds[doing] = seconds.get(doing, 0.0) + spent.seconds_s
        return seconds

    def _bytes(self, words: frozenset[str]) -> int:
        return sum(
            spent.bytes
            for of_learner in self._spent
            for (_, kind), spent in of_learner.items()
            if word(kind) in words
        )

    def _in_order(self, learner: int) -> list[tuple[tuple[str, str], Spent]]:
        # Sums of floats depend on their order, and that of first occurrence may vary.
        return sorted(self._spent[learner].items(), key=itemgetter(0))

    def to_builtins(self) -> Any:
        """Plain lists, dicts, strings and finite numbers, for any wire or file."""
        return msgspec.to_builtins(
            _Plain(
                self.last_s,
                self.samples,
                self.missed,
                [
                    [(*key, spent) for key, spent in self._in_order(learner)]
                    for learner in range(self.learners)
                ],
                self.staleness.counts(),
                self.curve.exponent,
                self.curve.bins(),
            )
        )

    @classmethod
    def from_builtins(cls, plain: Any) -> Tally:
        """The inverse; raises UsageError for anything else."""
        try:
            parts = msgspec.convert(plain, _Plain)
        except msgspec.ValidationError as error:
            raise UsageError(
                f"this is not the tally of a run: {error}. Give what Tally.to_builtins gave"
            ) from error
        tally = cls(len(parts.spent))
        tally.last_s, tally.samples, tally.missed = parts.last_s, parts.samples, parts.missed
        tally._spent = [
            {(strand, kind): spent for strand, kind, spent in of_learner}
            for of_learner in parts.spent
        ]
        tally.staleness = Distribution(parts.staleness)
        tally.curve = Curve(parts.exponent, parts.bins)
        return tally
