"""The figures of a run while it goes on are those of its end, as far as it got."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dualrt.core.records import BulkObserver
from dualrt.observe.kinds import Activity
from dualrt.observe.meter import Meter, OneByOne, Transport
from dualrt.observe.tally import Tally
from tests.observe.examples import MODEL_BYTES, a_run, show, show_in_bulk, span, tallied, update


def test_a_reading_adds_up_what_was_told_so_far() -> None:
    meter = Meter(2, [1])
    assert (meter.read().updates, meter.read().goodput, meter.read().loss) == (0, 0.0, None)
    show(
        [
            span("gradient", 10.0, 11.0, learner=1),
            span("send offer", 10.0, 10.5, learner=1, size=100),
            span("recv answer", 10.5, 11.5, learner=1, size=70),
            span("recv offer", 10.0, 12.0, learner=1, size=30, strand="answer"),
            span("allreduce", 11.5, 12.0, learner=1, size=1000),
        ],
        meter,
    )
    meter.update(12.0, update(2.5, learner=1, epoch=0.25, learning_rate=0.5, staleness=3))
    meter.update(12.0, update(1.5, learner=1, epoch=0.75, learning_rate=0.25))
    reading = meter.read()
    assert (reading.time_s, reading.steps, reading.updates, reading.samples) == (12.0, 1, 2, 20)
    assert (reading.epoch, reading.learning_rate, reading.loss) == (0.75, 0.25, 1.5)
    assert reading.staleness == ((0, 1), (3, 1))
    assert (reading.sent_bytes, reading.received_bytes) == (1100, 1100)
    assert reading.activity_s[Activity.EXCHANGE] == 2.0
    assert reading.activity_s[Activity.LISTENING] == 2.0
    # One second of the two since it was there.
    assert reading.goodput == 0.5
    assert reading.transport is None


def test_it_is_the_same_in_bulk_and_one_by_one() -> None:
    records = a_run()
    once, bulk, passed = Meter(3, range(3)), Meter(3, range(3)), Meter(3, range(3))
    show(records, once, OneByOne(passed))
    show_in_bulk(records, 7, bulk)
    assert once.read() == passed.read()
    assert bulk.read()._replace(activity_s={}) == once.read()._replace(activity_s={})
    assert bulk.read().activity_s == pytest.approx(once.read().activity_s)
    assert once.read().sent_bytes == tallied(records).bytes_sent == 15 * MODEL_BYTES


def test_whoever_passes_records_on_one_by_one_takes_none_in_bulk() -> None:
    assert isinstance(Meter(1, [0]), BulkObserver)
    assert not isinstance(OneByOne(Meter(1, [0])), BulkObserver)


def test_the_transport_is_asked_at_each_reading() -> None:
    meter, lost = Meter(2, [0]), [0]
    meter.attach(lambda: Transport(lost[0], {"stale": 3}))
    assert meter.read().transport == Transport(0, {"stale": 3})
    lost[0] = 1
    assert meter.read().transport == Transport(1, {"stale": 3})


def test_it_is_not_read_while_records_come_in(monkeypatch: pytest.MonkeyPatch) -> None:
    meter, held = Meter(1, [0]), dict[str, bool]()

    def watch(name: str) -> None:
        usual: Callable[..., Any] = getattr(Tally, name)

        def watched(tally: Tally, *words: Any) -> Any:
            held[name] = meter._lock.locked()
            return usual(tally, *words)

        monkeypatch.setattr(Tally, name, watched)

    for name in ("bulk_spans", "bulk_updates", "seconds_by_activity"):
        watch(name)
    meter.span(span())
    meter.update(1.0, update())
    meter.read()
    assert held == {"bulk_spans": True, "bulk_updates": True, "seconds_by_activity": True}
