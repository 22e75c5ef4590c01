"""Prometheus: the figures of one process as a page that a Prometheus server scrapes.

Owns names, labels and the page. Names follow Prometheus' conventions: a unit last, and `_total` for
what only grows (https://prometheus.io/docs/practices/naming/). The figures are made when somebody
asks: a run that nobody scrapes spends nothing on it.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from dualrt.observe.meter import Meter, Reading
from dualrt.observe.metrics import Watched, port_of, unavailable

BUCKETS = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
"""Upper bounds of staleness."""


class Page:
    """The page of one process, at `port` and its place among the processes of this host.

    Raises UsageError for an address that is taken, or none of this host's.
    """

    observer = None

    def __init__(self, host: str, port: int, meter: Meter, watched: Watched) -> None:
        labels = {"rank": str(watched.rank), "algorithm": watched.algorithm}
        registry = CollectorRegistry(auto_describe=False)
        registry.register(Figures(meter, labels))
        try:
            ours = port_of(port, watched.local_rank)
            self._server, self._thread = start_http_server(ours, host, registry)
        except (OSError, OverflowError) as error:
            raise unavailable(host, port, watched.local_rank, error) from error
        shown = f"[{host}]" if self._server.address_family is socket.AF_INET6 else host
        self.where = f"http://{shown}:{self._server.server_port}/metrics"

    def close(self) -> None:
        """Give up the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Figures(Collector):
    """What the registry asks at each scrape."""

    def __init__(self, meter: Meter, labels: Mapping[str, str]) -> None:
        self._meter, self._labels = meter, labels

    def collect(self) -> Iterator[Metric]:
        """All figures as of now."""
        reading = self._meter.read()
        yield self._counter("steps", "Mini-batches whose gradient was computed", reading.steps)
        yield self._counter("updates", "Gradients applied to the weights", reading.updates)
        yield self._counter("samples", "Samples of all updates", reading.samples)
        yield self._counter(
            "sent_bytes", "Bytes of bodies handed to the network", reading.sent_bytes
        )
        yield self._counter(
            "received_bytes", "Bytes of bodies that came from the network", reading.received_bytes
        )
        yield self._gauge("epoch", "Global progress as this learner knows it", reading.epoch)
        yield self._gauge("learning_rate", "Of the last update", reading.learning_rate)
        if reading.loss is not None:
            yield self._gauge("loss", "Training loss of the last mini-batch", reading.loss)
        yield self._gauge(
            "goodput_ratio",
            "Share of the time since the start spent on gradients and updates",
            reading.goodput,
        )
        yield self._activities(reading)
        yield self._staleness(reading)
        if reading.transport is not None:
            lost, rejected = reading.transport
            yield self._gauge("lost_peers", "Learners that are lost just now", lost)
            yield self._split(
                "rejected_frames", "Frames that were dropped, by reason", "reason", rejected
            )

    def _counter(self, name: str, about: str, value: float) -> Metric:
        family = CounterMetricFamily(f"dualrt_{name}", about, labels=list(self._labels))
        family.add_metric(list(self._labels.values()), value)
        return family

    def _gauge(self, name: str, about: str, value: float) -> Metric:
        family = GaugeMetricFamily(f"dualrt_{name}", about, labels=list(self._labels))
        family.add_metric(list(self._labels.values()), value)
        return family

    def _split(self, name: str, about: str, label: str, values: Mapping[str, float]) -> Metric:
        """A counter for each value of one more label."""
        family = CounterMetricFamily(f"dualrt_{name}", about, labels=[*self._labels, label])
        for key, value in values.items():
            family.add_metric([*self._labels.values(), key], value)
        return family

    def _activities(self, reading: Reading) -> Metric:
        seconds = {doing.value: spent_s for doing, spent_s in reading.activity_s.items()}
        about = "Time by activity; those that overlap add up"
        return self._split("activity_seconds", about, "activity", seconds)

    def _staleness(self, reading: Reading) -> Metric:
        family = HistogramMetricFamily(
            "dualrt_staleness",
            "Versions of any one learner that a gradient had not seen when it was applied",
            labels=list(self._labels),
        )
        buckets = [
            (str(float(bound)), sum(count for value, count in reading.staleness if value <= bound))
            for bound in BUCKETS
        ]
        total = sum(value * count for value, count in reading.staleness)
        family.add_metric(list(self._labels.values()), [*buckets, ("+Inf", reading.updates)], total)
        return family
