"""Figures that are added up while a run goes."""

from __future__ import annotations

import math
import random
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualrt.core.errors import UsageError
from dualrt.core.records import Span
from dualrt.observe.kinds import Activity
from dualrt.observe.recorder import Record
from dualrt.observe.tally import Tally
from tests.observe.examples import MODEL_BYTES, a_run, runs, show_in_bulk, span, tallied, update


def learner_of(record: Record) -> int:
    return record.learner if isinstance(record, Span) else record.update.learner


def exact_figures(tally: Tally) -> object:
    """All that must be the same in every order of merging, to the bit."""
    return (
        tally.last_s,
        tally.samples,
        tally.missed,
        tally.steps_by_learner,
        tally.bytes_sent,
        tally.staleness.counts(),
        tally.curve.exponent,
        [(one.index, one.updates, one.losses, one.samples) for one in tally.curve.bins()],
    )


def test_a_gradient_is_a_step_of_its_learner() -> None:
    tally = tallied([span(learner=2), span(learner=2), span("update", learner=1)])
    assert tally.steps_by_learner == [0, 0, 2]
    assert tally.steps == 2


@given(runs, st.integers(1, 20))
def test_in_bulk_or_one_by_one_is_the_same(records: list[Record], size: int) -> None:
    """To the bit: sums are taken in the same order."""
    in_bulk = Tally(3)
    show_in_bulk(records, size, in_bulk)
    assert in_bulk.to_builtins() == tallied(records).to_builtins()


def test_a_device_is_busy_with_gradients_and_updates() -> None:
    tally = tallied(
        [span("gradient", 1, 3), span("update", 3, 3.5), span("blend", 0, 9), span("send", 0, 9)]
    )
    assert tally.busy_s == [2.5, 0, 0]
    assert tally.last_s == 9


def test_seconds_add_up_over_strands() -> None:
    tally = tallied(
        [span("blend", 0, 1), span("blend", 0, 2, strand="answer"), span("gradient", 0, 4)]
    )
    assert tally.seconds_by_activity(0) == {Activity.BLEND: 3.0, Activity.GRADIENT: 4.0}
    assert tally.seconds_by_activity(1) == {}


def test_only_the_strand_that_trains_is_held_up_by_a_message() -> None:
    tally = tallied([span(), span("recv answer", 0, 2), span("recv offer", 0, 9, strand="answer")])
    assert tally.seconds_by_activity(0) == {
        Activity.GRADIENT: 1.0,
        Activity.EXCHANGE: 2.0,
        Activity.LISTENING: 9.0,
    }


def test_bytes_are_counted_where_they_leave() -> None:
    tally = tallied(
        [
            span("send offer", size=3),
            span("allreduce", size=50, learner=1),
            span("broadcast", size=700, learner=2),
            span("recv answer", size=100_000),
            span("blend", size=100_000),
        ]
    )
    assert tally.bytes_sent == 753


def test_updates_give_staleness_samples_and_the_curve() -> None:
    tally = Tally(1)
    tally.update(2.0, update(3.0, staleness=1, missed=4, samples=10))
    tally.update(4.0, update(1.0, staleness=3, missed=2, samples=10))
    assert tally.updates == 2
    assert tally.samples == 20
    assert tally.missed_mean == 3.0
    assert tally.staleness.counts() == [(1, 1), (3, 1)]
    assert [(p.time_s, p.loss) for p in tally.curve.points()] == [(2.0, 3.0), (4.0, 1.0)]
    assert tally.last_s == 4.0


def test_an_empty_tally_has_no_means() -> None:
    empty = Tally(2)
    assert empty.missed_mean is None
    assert (empty.steps, empty.bytes_sent, empty.busy_s) == (0, 0, [0, 0])


@given(runs, st.lists(st.integers(0, 60), max_size=4), st.randoms(use_true_random=False))
def test_parts_add_up_in_any_order(
    records: list[Record], cuts: list[int], order: random.Random
) -> None:
    edges = [0, *sorted(cuts), len(records)]
    parts = [tallied(records[a:b]) for a, b in pairwise(edges)]
    order.shuffle(parts)
    merged = Tally(3)
    for part in parts:
        merged.merge(part)
    whole = tallied(records)
    assert exact_figures(merged) == exact_figures(whole)
    for learner in range(3):
        seconds = whole.seconds_by_activity(learner)
        assert merged.seconds_by_activity(learner) == pytest.approx(seconds)


def test_one_process_a_learner_gives_the_same_seconds_to_the_bit() -> None:
    records = a_run()
    merged = Tally(3)
    for rank in (2, 0, 1):
        merged.merge(tallied(one for one in records if learner_of(one) == rank))
    whole = tallied(records)
    assert merged.busy_s == whole.busy_s
    assert exact_figures(merged) == exact_figures(whole)


def test_a_merge_leaves_the_other_tally_alone() -> None:
    mine, theirs = tallied(a_run()), tallied(a_run(seed=1))
    before = theirs.to_builtins()
    mine.merge(theirs)
    mine.span(span("blend", learner=0))
    assert theirs.to_builtins() == before


def test_another_number_of_learners_is_another_run() -> None:
    with pytest.raises(ValueError, match=r"4 learners .* one of 3"):
        Tally(3).merge(Tally(4))


@given(runs)
def test_a_tally_survives_any_wire(records: list[Record]) -> None:
    tally = tallied(records)
    plain = tally.to_builtins()
    for wire in (msgspec.json, msgspec.msgpack):
        arrived = Tally.from_builtins(wire.decode(wire.encode(plain)))
        assert arrived.to_builtins() == plain
        assert exact_figures(arrived) == exact_figures(tally)


def test_a_diverged_run_survives_json() -> None:
    tally = Tally(1)
    tally.update(1.0, update(math.inf))
    arrived = Tally.from_builtins(msgspec.json.decode(msgspec.json.encode(tally.to_builtins())))
    (point,) = arrived.curve.points()
    assert point.loss is not None
    assert math.isnan(point.loss)


def test_what_is_no_tally_is_refused() -> None:
    with pytest.raises(UsageError, match="not the tally of a run"):
        Tally.from_builtins({"learners": 3})


def test_memory_does_not_grow_with_the_run() -> None:
    short, long = (
        len(msgspec.msgpack.encode(tallied(a_run(3, steps), 3).to_builtins()))
        for steps in (1_000, 4_000)
    )
    assert long < 1.5 * short


def test_the_bytes_of_the_example_are_its_offers() -> None:
    assert tallied(a_run(3, 5)).bytes_sent == 15 * MODEL_BYTES
