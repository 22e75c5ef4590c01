"""Trace: records as a file for chrome://tracing and ui.perfetto.dev.

Owns the translation to Chrome's trace event format (JSON object form, times in microseconds): a
process a learner, a thread a strand, a counter for what an update reports. Must not know where
records come from.
"""

from __future__ import annotations

import gzip
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from dualrt.core.records import Span
from dualrt.observe.lanes import Lane, in_lanes
from dualrt.observe.recorder import Applied, Record


def write_trace(path: Path | str, records: Iterable[Record]) -> None:
    """Write a trace, compressed if the name ends in `.gz` (Perfetto opens both).

    All records are held in memory meanwhile: of a long run, pass a part.
    """
    events = msgspec.json.encode(
        {"displayTimeUnit": "ms", "traceEvents": list(_events(records))}, order="deterministic"
    )
    path = Path(path)
    path.write_bytes(gzip.compress(events, mtime=0) if path.suffix == ".gz" else events)


def _events(records: Iterable[Record]) -> Iterator[dict[str, Any]]:
    spans: list[Span] = []
    updates: list[Applied] = []
    for record in records:
        if isinstance(record, Span):
            spans.append(record)
        else:
            updates.append(record)
    lanes = in_lanes(spans)
    for learner in sorted({span.learner for span in spans}):
        yield _name("process_name", f"learner {learner}", learner, 0)
    for thread, (lane, of_lane) in enumerate(lanes.items()):
        yield _name("thread_name", lane.label, lane.learner, thread)
        yield from (_effect(span, lane, thread) for span in of_lane)
    for applied in updates:
        yield from _counters(applied)


def _name(what: str, name: str, learner: int, thread: int) -> dict[str, Any]:
    return {"ph": "M", "name": what, "pid": learner, "tid": thread, "args": {"name": name}}


def _effect(span: Span, lane: Lane, thread: int) -> dict[str, Any]:
    facts: dict[str, Any] = {"step": span.step}
    if span.bytes:
        facts["bytes"] = span.bytes
    if span.peer >= 0:
        facts["peer"] = span.peer
    begin = _microseconds(span.start_s)
    return {
        "ph": "X",
        "name": span.kind,
        "cat": lane.strand,
        "pid": span.learner,
        "tid": thread,
        "ts": begin,
        # From rounded ends, so that a span never reaches into the next by a rounding.
        "dur": round(_microseconds(span.end_s) - begin, 3),
        "args": facts,
    }


def _counters(applied: Applied) -> Iterator[dict[str, Any]]:
    update = applied.update
    figures = {"staleness": update.staleness, "loss": update.loss}
    for name, value in figures.items():
        if value is not None and math.isfinite(value):
            yield {
                "ph": "C",
                "name": name,
                "pid": update.learner,
                "ts": _microseconds(applied.time_s),
                "args": {name: value},
            }


def _microseconds(seconds: float) -> float:
    return round(seconds * 1e6, 3)
