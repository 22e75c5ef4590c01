"""What strands did, drawn against time."""

from __future__ import annotations

from itertools import pairwise

import pytest
from matplotlib.figure import Figure

from dualrt.core.records import Span
from dualrt.observe.gantt import draw_gantt, rows_of
from dualrt.observe.kinds import Activity
from tests.observe.examples import a_run, span

SPANS = [one for one in a_run(3, 5) if isinstance(one, Span)]


def test_only_chosen_learners_have_rows() -> None:
    assert {row.lane.learner for row in rows_of(SPANS, [0, 2], (0.0, 9.0))} == {0, 2}


def test_only_what_reaches_into_the_window_is_shown() -> None:
    before, across, after = span(end_s=1.0), span(start_s=1.0, end_s=3.0), span(start_s=4.0)
    (row,) = rows_of([before, across, after], [0], (1.0, 4.0))
    assert row.spans == {Activity.GRADIENT: [across]}


def test_a_strand_that_only_listens_has_no_row() -> None:
    strands = {row.lane.strand for row in rows_of(SPANS, [0], (0.0, 9.0))}
    assert strands == {"train"}


def test_an_answering_strand_is_shown_for_what_it_answers() -> None:
    spans = [
        span("recv offer", 0, 1, strand="answer"),
        span("blend", 1, 2, strand="answer"),
    ]
    (row,) = rows_of(spans, [0], (0.0, 2.0))
    assert row.spans.keys() == {Activity.LISTENING, Activity.BLEND}


def test_a_strand_trains_even_if_no_gradient_is_in_the_window() -> None:
    spans = [span("gradient", 0, 1), span("recv answer", 5, 6)]
    (row,) = rows_of(spans, [0], (5.0, 6.0))
    assert row.spans.keys() == {Activity.EXCHANGE}


def test_learners_are_set_apart() -> None:
    rows = rows_of(SPANS, range(3), (0.0, 9.0))
    steps = [b.at - a.at for a, b in pairwise(rows)]
    assert steps == pytest.approx([1.0, 1.45, 1.0, 1.45, 1.0])


def test_the_drawing_names_learners_strands_activities_and_steps() -> None:
    axes = Figure().add_subplot()
    draw_gantt(axes, rows_of(SPANS, range(2), (0.0, 4.0)), (0.0, 4.0))
    legend = axes.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == [
        "gradient",
        "update",
        "blend",
        "exchange",
    ]
    written = {text.get_text() for text in axes.texts}
    assert {"learner 0", "learner 1", "1", "2", "3"} <= written
    assert axes.get_xlabel() == "time [s]"
    assert [label.get_text() for label in axes.get_yticklabels()] == ["train", "train (2)"] * 2


def test_an_empty_window_is_drawn_empty() -> None:
    axes = Figure().add_subplot()
    draw_gantt(axes, rows_of(SPANS, range(2), (100.0, 101.0)), (100.0, 101.0))
    assert len(axes.texts) == 0
    assert axes.get_xlim() == (100_000.0, 101_000.0), "milliseconds"
