"""Records and summaries that tests of this folder share."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import Any

from hypothesis import strategies as st

from dualrt.core.records import BulkObserver, Lane, Observer, Row, Span, Update
from dualrt.observe.recorder import Applied, Record
from dualrt.observe.summary import Summary, summarise
from dualrt.observe.tally import Tally

MODEL_BYTES = 164_620_000

NICS = (("nic 0", 0.95), ("nic 1", 0.4))


def span(
    kind: str = "gradient",
    start_s: float = 0.0,
    end_s: float = 1.0,
    *,
    learner: int = 0,
    strand: str = "train",
    size: int = 0,
    peer: int = -1,
    step: int = 0,
) -> Span:
    return Span(learner, strand, kind, start_s, end_s, size, peer, step)


def update(loss: float | None = None, **fields: Any) -> Update:
    plain: dict[str, Any] = {
        "learner": 0,
        "step": 1,
        "epoch": 0.5,
        "learning_rate": 0.1,
        "staleness": 0,
        "missed": 0,
        "samples": 10,
    }
    return Update(loss=loss, **{**plain, **fields})


def a_run(learners: int = 3, steps: int = 5, *, loss: bool = True, seed: int = 0) -> list[Record]:
    """AD-PSGD by hand: each learner computes for about a second and exchanges meanwhile."""
    draw = random.Random(seed)
    records: list[Record] = []
    for learner in range(learners):
        now_s = 0.0
        for step in range(1, steps + 1):
            end_s = now_s + draw.uniform(0.9, 1.1)
            at: dict[str, Any] = {"learner": learner, "step": step}
            to: dict[str, Any] = {"peer": (learner + 1) % learners, "size": MODEL_BYTES}
            records += [
                span("send offer", now_s, now_s + 0.1, **at, **to),
                span("recv answer", now_s + 0.1, now_s + 0.5, **at, **to),
                span("blend", now_s + 0.5, now_s + 0.6, **at, size=4 * MODEL_BYTES),
                span("recv offer", now_s, end_s, strand="answer", **at, **to),
                span("gradient", now_s, end_s, **at),
                span("update", end_s, end_s + 0.1, **at),
                Applied(
                    end_s + 0.1,
                    update(
                        4.0 / step if loss else None,
                        **at,
                        epoch=step / steps,
                        staleness=draw.randrange(4),
                        missed=draw.randrange(9),
                    ),
                ),
            ]
            now_s = end_s + 0.1
    return sorted(records, key=lambda one: one.end_s if isinstance(one, Span) else one.time_s)


def show(records: Iterable[Record], *observers: Observer) -> None:
    for record in records:
        for observer in observers:
            if isinstance(record, Span):
                observer.span(record)
            else:
                observer.update(*record)


def show_in_bulk(records: Sequence[Record], size: int, *observers: BulkObserver) -> None:
    """The same, `size` records at a time."""
    for first in range(0, len(records), size):
        lanes: dict[Lane, list[Row]] = {}
        updates: list[tuple[float, Update]] = []
        for record in records[first : first + size]:
            if isinstance(record, Span):
                lanes.setdefault(record.lane, []).append(record.row)
            else:
                updates.append((record.time_s, record.update))
        for observer in observers:
            for lane, rows in lanes.items():
                observer.bulk_spans(lane, rows)
            observer.bulk_updates(updates)


def tallied(records: Iterable[Record], learners: int = 3) -> Tally:
    tally = Tally(learners)
    show(records, tally)
    return tally


def summed_up(tally: Tally, **facts: Any) -> Summary:
    plain: dict[str, Any] = {
        "title": "A run",
        "mode": "simulated",
        "algorithm": "adpsgd",
        "batch": 10,
        "samples_per_epoch": 100,
        "epochs_total": 16,
        "wall_s": 2.0,
    }
    return summarise(tally, **{**plain, **facts})


seconds = st.floats(0, 1e6, allow_subnormal=False)
spans = st.builds(
    Span,
    learner=st.integers(0, 2),
    strand=st.sampled_from(["train", "answer"]),
    kind=st.sampled_from(["gradient", "update", "send offer", "recv answer", "allreduce"]),
    start_s=seconds,
    end_s=seconds,
    bytes=st.integers(0, 2**40),
    peer=st.integers(-1, 2),
    step=st.integers(0, 2**40),
)
updates = st.builds(
    Applied,
    seconds,
    st.builds(
        Update,
        learner=st.integers(0, 2),
        step=st.integers(1, 2**40),
        epoch=st.floats(0, 100),
        learning_rate=st.floats(0, 10),
        loss=st.none() | st.floats(0, 20),
        staleness=st.integers(0, 50),
        missed=st.integers(0, 500),
        samples=st.integers(1, 1024),
    ),
)
runs = st.lists(st.one_of(spans, updates), max_size=60)
