"""Rows without overlap."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from dualrt.core.records import Span
from dualrt.observe.lanes import Lane, in_lanes
from tests.observe.examples import span

intervals = st.lists(
    st.tuples(st.integers(0, 30), st.integers(0, 8), st.sampled_from(["train", "answer"])),
    max_size=40,
)


def test_a_strand_that_does_one_thing_at_a_time_has_one_lane() -> None:
    one, two = span(end_s=1.0), span(start_s=1.0, end_s=2.0)
    assert in_lanes([two, one]) == {Lane(0, "train", 0): [one, two]}


def test_what_overlaps_goes_to_a_lane_of_its_own() -> None:
    exchange, gradient = span("recv answer", 0, 2), span("gradient", 0, 3)
    update = span("update", 3, 4)
    lanes = in_lanes([gradient, exchange, update])
    assert lanes == {
        Lane(0, "train", 0): [exchange, update],
        Lane(0, "train", 1): [gradient],
    }
    assert [lane.label for lane in lanes] == ["train", "train (2)"]


def test_lanes_are_in_order_of_learner_and_strand() -> None:
    lanes = in_lanes(span(learner=n, strand=s) for n, s in ((10, "b"), (9, "b"), (9, "a")))
    assert [(lane.learner, lane.strand) for lane in lanes] == [(9, "a"), (9, "b"), (10, "b")]


@given(intervals)
def test_no_lane_overlaps_and_no_span_is_lost(drawn: list[tuple[int, int, str]]) -> None:
    spans: list[Span] = [
        span(start_s=float(start), end_s=float(start + length), strand=strand, step=step)
        for step, (start, length, strand) in enumerate(drawn)
    ]
    lanes = in_lanes(spans)
    assert sorted(one for lane in lanes.values() for one in lane) == sorted(spans)
    for lane, members in lanes.items():
        assert {one.strand for one in members} == {lane.strand}
        assert all(a.end_s <= b.start_s for a, b in pairwise(members))
