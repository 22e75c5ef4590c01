"""Records as a trace for Perfetto."""

from __future__ import annotations

import gzip
import json
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from dualrt.observe.recorder import Applied, Record
from dualrt.observe.trace import write_trace
from tests.observe.examples import a_run, span, update


def events(tmp_path: Path, records: list[Record]) -> list[dict[str, Any]]:
    path = tmp_path / "trace.json"
    write_trace(path, records)
    trace = json.loads(path.read_text())
    found: list[dict[str, Any]] = trace["traceEvents"]
    return found


def of_phase(found: list[dict[str, Any]], phase: str) -> list[dict[str, Any]]:
    return [event for event in found if event["ph"] == phase]


def test_a_span_is_a_complete_event_in_microseconds(tmp_path: Path) -> None:
    (event,) = of_phase(
        events(tmp_path, [span("send offer", 0.5, 0.75, learner=3, peer=1, size=9, step=4)]), "X"
    )
    assert (event["name"], event["pid"]) == ("send offer", 3)
    assert (event["ts"], event["dur"]) == (500_000, 250_000)
    assert event["args"] == {"peer": 1, "bytes": 9, "step": 4}


def test_a_span_with_nobody_and_nothing_says_neither(tmp_path: Path) -> None:
    (event,) = of_phase(events(tmp_path, [span()]), "X")
    assert event["args"] == {"step": 0}


def test_learners_are_processes_and_strands_are_threads(tmp_path: Path) -> None:
    found = events(tmp_path, a_run(2, 2))
    names = {(e["name"], e["pid"], e["args"]["name"]) for e in of_phase(found, "M")}
    assert names == {("process_name", learner, f"learner {learner}") for learner in (0, 1)} | {
        ("thread_name", learner, strand)
        for learner in (0, 1)
        for strand in ("train", "train (2)", "answer")
    }


def test_a_thread_does_one_thing_at_a_time(tmp_path: Path) -> None:
    """Perfetto takes overlapping events of a thread for nested ones."""
    threads: dict[tuple[int, int], list[dict[str, Any]]] = {}
    for event in of_phase(events(tmp_path, a_run(3, 20)), "X"):
        threads.setdefault((event["pid"], event["tid"]), []).append(event)
    assert len(threads) == 9
    for members in threads.values():
        assert all(a["ts"] + a["dur"] <= b["ts"] + 1e-4 for a, b in pairwise(members))


def test_rounding_does_not_push_a_span_into_the_next(tmp_path: Path) -> None:
    first, second = of_phase(
        events(tmp_path, [span(start_s=0.4e-9, end_s=0.8e-9), span(start_s=0.8e-9, end_s=1e-9)]),
        "X",
    )
    assert first["ts"] + first["dur"] == second["ts"]


def test_updates_are_counters(tmp_path: Path) -> None:
    found = of_phase(events(tmp_path, [Applied(2.0, update(1.5, learner=1, staleness=4))]), "C")
    assert [(e["pid"], e["ts"], e["args"]) for e in found] == [
        (1, 2e6, {"staleness": 4}),
        (1, 2e6, {"loss": 1.5}),
    ]


@pytest.mark.parametrize("loss", [None, math.nan, math.inf])
def test_a_loss_that_is_no_number_is_no_counter(tmp_path: Path, loss: float | None) -> None:
    found = of_phase(events(tmp_path, [Applied(2.0, update(loss))]), "C")
    assert [event["name"] for event in found] == ["staleness"]


def test_a_trace_may_be_compressed_and_is_the_same_each_time(tmp_path: Path) -> None:
    plain, one, other = (tmp_path / name for name in ("a.json", "a.json.gz", "b.json.gz"))
    for path in (plain, one, other):
        write_trace(path, a_run())
    assert one.read_bytes() == other.read_bytes()
    assert gzip.decompress(one.read_bytes()) == plain.read_bytes()


def test_no_records_are_an_empty_trace(tmp_path: Path) -> None:
    assert events(tmp_path, []) == []
