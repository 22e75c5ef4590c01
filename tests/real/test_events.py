"""What a run tells whoever operates it: what happened, to whom, and no more often than it helps."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import zmq

from dualrt.core.effects import Packet
from dualrt.core.errors import StalledError
from dualrt.real.drops import DROPS_INTERVAL_S
from dualrt.real.events import Events, Sparingly
from dualrt.real.gate import Gate
from dualrt.real.gossip import Gossip
from tests.support.commands import await_

BODY_BYTES = 1000


@contextmanager
def pair(timeout_s: float) -> Iterator[tuple[Gossip, Gossip]]:
    with (
        Gossip(0, run_id="run", timeout_s=timeout_s, max_body_bytes=BODY_BYTES) as a,
        Gossip(1, run_id="run", timeout_s=timeout_s, max_body_bytes=BODY_BYTES) as b,
    ):
        addresses = {0: a.address, 1: b.address}
        for one in (a, b):
            one.connect(addresses)
        yield a, b


def told(caplog: pytest.LogCaptureFixture, event: str) -> list[dict[str, Any]]:
    """The fields of all records of an event."""
    records = [record.__dict__ for record in caplog.records]
    return [record["fields"] for record in records if record["event"] == event]


def test_a_record_is_a_sentence_for_people_and_fields_for_machines(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "dualrt")
    Events(3, incarnation=1).info("happened", "learner 3 did 100 %", share=1.0)
    (record,) = caplog.records
    assert (record.name, record.getMessage()) == ("dualrt.real", "learner 3 did 100 %")
    found = record.__dict__
    assert (found["event"], found["rank"], found["incarnation"]) == ("happened", 3, 1)
    assert found["fields"] == {"share": 1.0}


def test_what_happens_often_is_told_once_an_interval_with_how_often() -> None:
    now_s = 0.0
    speaking = Sparingly(10.0, lambda: now_s)
    assert [speaking.count("a") for _ in range(4)] == [1, 0, 0, 0]
    assert speaking.count("b") == 1
    now_s = 9.9
    assert speaking.count("a") == 0
    now_s = 10.0
    assert [speaking.count("a"), speaking.count("a")] == [5, 0]


def test_dropped_frames_are_counted_each_and_told_once(caplog: pytest.LogCaptureFixture) -> None:
    assert DROPS_INTERVAL_S >= 10
    with pair(20.0) as (a, b), zmq.Context() as context, context.socket(zmq.DEALER) as stranger:
        stranger.linger = 0
        stranger.connect(b.address)
        for _ in range(50):
            stranger.send(b"no frame of ours")
        assert await_(lambda: b.counters["malformed"] == 50)
        assert a.counters["malformed"] == 0
    (dropped,) = told(caplog, "frames_dropped")
    assert (dropped["reason"], dropped["count"], dropped["total"]) == ("malformed", 1, 1)


def test_a_peer_that_has_said_goodbye_is_not_told_as_lost(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "dualrt")
    with pair(20.0) as (a, b):
        a.send(1, "t", Packet())
        b.recv("t")
        for one in (a, b):
            one.finish(0.0)
        assert a.finish(20.0) == b.finish(20.0) == frozenset()
        b.close()
        assert await_(lambda: told(caplog, "peer_left") == [{"peer": 1}])
    assert told(caplog, "peer_lost") == []


def test_a_long_wait_is_told_while_it_lasts_and_not_again_soon(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with pair(0.2) as (a, _):
        for _ in range(2):
            with pytest.raises(StalledError, match=r"no 't' came from learner 1 within 0\.2 s"):
                a.recv("t", 1)
        with pytest.raises(StalledError):
            a.recv("t")
    first, *others = told(caplog, "slow_wait")
    assert first == {"peers": [1], "waited_s": 0.05, "patience_s": 0.2}
    # That of anyone is another wait; the second of learner 1 came too soon, unless this machine
    # was slow.
    assert 1 <= len(others) <= 2


def test_who_waits_slowly_is_told_without_the_gate_held() -> None:
    gate, slow = Gate(), list[float]()

    def open_the_gate(waited_s: float) -> None:
        with gate:
            slow.append(waited_s)
            gate.announce()

    with gate:
        assert gate.wait(lambda: bool(slow), 20.0 / 1000, open_the_gate)
        assert not gate.wait(lambda: False, 0.0, open_the_gate)
        assert gate.wait(lambda: True, 20.0, open_the_gate)
    assert slow == [0.005, 0.0]
