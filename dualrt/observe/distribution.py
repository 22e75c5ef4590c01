"""Distribution: how often each integer occurred, and the figures that follow exactly.

Owns counts of small integers (staleness). Memory grows with the number of different values, not
with the number of observations. Must not know what is counted.
"""

from __future__ import annotations

from collections.abc import Iterable


class Distribution:
    """A mutable histogram of integers."""

    __slots__ = ("_counts",)

    def __init__(self, counts: Iterable[tuple[int, int]] = ()) -> None:
        self._counts: dict[int, int] = dict(counts)

    def add(self, value: int) -> None:
        """Count one observation."""
        self._counts[value] = self._counts.get(value, 0) + 1

    def merge(self, other: Distribution) -> None:
        """Add another's counts; the order of merges does not matter."""
        for value, count in other._counts.items():
            self._counts[value] = self._counts.get(value, 0) + count

    def counts(self) -> list[tuple[int, int]]:
        """(value, count) pairs, ascending by value."""
        return sorted(self._counts.items())

    @property
    def total(self) -> int:
        """Number of observations."""
        return sum(self._counts.values())

    @property
    def mean(self) -> float | None:
        """Arithmetic mean; None of nothing."""
        total = self.total
        return sum(v * n for v, n in self._counts.items()) / total if total else None

    @property
    def max(self) -> int | None:
        """The largest value; None of nothing."""
        return max(self._counts, default=None)

    def percentile(self, percent: int) -> int | None:
        """The smallest observed value that at least `percent` % of observations do not exceed.

        Exact (numpy calls it "inverted_cdf"): always a value that occurred. None of nothing.
        """
        rank = max(1, -(-percent * self.total // 100))
        reached = 0
        for value, count in self.counts():
            reached += count
            if reached >= rank:
                return value
        return None
