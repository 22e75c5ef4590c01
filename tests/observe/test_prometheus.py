"""The page that a Prometheus server scrapes."""

from __future__ import annotations

import socket
from urllib.request import urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families

from dualrt.core.errors import UsageError
from dualrt.observe.meter import Meter, Transport
from dualrt.observe.metrics import Watched
from dualrt.observe.prometheus import Page
from tests.observe.examples import a_run, show, span, update

ALONE = Watched("adpsgd", 3, 0, lambda time_s: time_s, 0.0)

Samples = dict[str, float]
"""By the name and whatever labels there are beside rank and algorithm."""


def scraped(page: Page) -> Samples:
    with urlopen(page.where, timeout=20) as answer:
        text = answer.read().decode()
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        for name, labels, value, *_ in family.samples:
            assert (labels.pop("rank"), labels.pop("algorithm")) == ("3", "adpsgd")
            found[" ".join([name, *labels.values()])] = value
    return found


def test_a_scrape_shows_the_figures_as_of_then() -> None:
    meter = Meter(4, [3])
    meter.attach(lambda: Transport(2, {"stale": 5, "corrupt": 0}))
    page = Page("127.0.0.1", 0, meter, ALONE)
    try:
        assert scraped(page)["dualrt_steps_total"] == 0
        assert "dualrt_loss" not in scraped(page)
        meter.span(span("gradient", 0.0, 1.0, learner=3))
        meter.span(span("send offer", 0.0, 2.0, learner=3, size=100))
        for staleness in (0, 1, 3, 2000):
            meter.update(2.0, update(0.5, learner=3, epoch=1.5, staleness=staleness))
        found = scraped(page)
    finally:
        page.close()
    expected = {
        "dualrt_steps_total": 1,
        "dualrt_updates_total": 4,
        "dualrt_samples_total": 40,
        "dualrt_epoch": 1.5,
        "dualrt_learning_rate": 0.1,
        "dualrt_loss": 0.5,
        "dualrt_goodput_ratio": 0.5,
        "dualrt_sent_bytes_total": 100,
        "dualrt_received_bytes_total": 0,
        "dualrt_activity_seconds_total exchange": 2,
        "dualrt_activity_seconds_total gradient": 1,
        "dualrt_staleness_bucket 0.0": 1,
        "dualrt_staleness_bucket 2.0": 2,
        "dualrt_staleness_bucket 1024.0": 3,
        "dualrt_staleness_bucket +Inf": 4,
        "dualrt_staleness_count": 4,
        "dualrt_staleness_sum": 2004,
        "dualrt_lost_peers": 2,
        "dualrt_rejected_frames_total stale": 5,
        "dualrt_rejected_frames_total corrupt": 0,
    }
    assert {name: found.get(name) for name in expected} == expected


def test_a_simulation_s_worth_of_records_can_be_shown() -> None:
    meter = Meter(3, range(3))
    show(a_run(), meter)
    page = Page("127.0.0.1", 0, meter, ALONE)
    try:
        assert scraped(page)["dualrt_updates_total"] == 15
    finally:
        page.close()


def test_processes_of_a_host_have_ports_in_a_row() -> None:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    second = ALONE._replace(local_rank=1)
    page = Page("127.0.0.1", port - 1, Meter(4, [3]), second)
    try:
        assert page.where == f"http://127.0.0.1:{port}/metrics"
        with pytest.raises(UsageError, match=f"process 1 of this host needs port {port}, which is"):
            Page("127.0.0.1", port - 1, Meter(4, [3]), second)
    finally:
        page.close()
    again = Page("127.0.0.1", port, Meter(4, [3]), ALONE)
    again.close()


@pytest.mark.parametrize(("host", "port"), [("192.0.2.1", 9100), ("127.0.0.1", 65535)])
def test_an_address_that_cannot_be_had_is_refused(host: str, port: int) -> None:
    with pytest.raises(UsageError, match=r"cannot have it .*Name another port"):
        Page(host, port, Meter(4, [3]), ALONE._replace(local_rank=1))
