"""Lanes: rows on which spans can be drawn without overlap.

Owns the packing. A strand runs one effect after another, but inside a `Together` several at once,
which overlap without nesting; so a strand gets as many lanes as it ever had effects under way.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from dualrt.core.records import Span


class Lane(NamedTuple):
    """One row; a strand's first lane is number 0."""

    learner: int
    strand: str
    number: int

    @property
    def label(self) -> str:
        """The strand, and the lane's number where it is not the first."""
        return f"{self.strand} ({self.number + 1})" if self.number else self.strand


def in_lanes(spans: Iterable[Span]) -> dict[Lane, list[Span]]:
    """Spans by lane, lanes in order of learner, strand and number, spans in order of start."""
    lanes: dict[Lane, list[Span]] = {}
    opened: dict[tuple[int, str], list[Lane]] = {}
    for span in sorted(spans, key=lambda span: (span.start_s, span.end_s)):
        mine = opened.setdefault((span.learner, span.strand), [])
        lane = next((one for one in mine if lanes[one][-1].end_s <= span.start_s), None)
        if lane is None:
            lane = Lane(span.learner, span.strand, len(mine))
            mine.append(lane)
        lanes.setdefault(lane, []).append(span)
    return dict(sorted(lanes.items(), key=lambda item: item[0]))
