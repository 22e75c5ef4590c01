"""Logbook: the records of a loop, and what becomes of them.

Owns the observers of one process, and completes what a learner reports with what only the loop
knows. Must not know how many processes there are beside this one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import msgspec

from dualrt.core.records import Observer, Span, Update
from dualrt.modes.observers import shown
from dualrt.observe.digest import TimingDigest
from dualrt.observe.fan import fan
from dualrt.observe.meter import Meter, Transport
from dualrt.observe.metrics import Target
from dualrt.observe.recorder import SECONDS_PER_FLUSH, Recorder
from dualrt.observe.summary import Summary
from dualrt.observe.tally import Tally
from dualrt.real.rendezvous import Launch


class Logbook:
    """An observer, of one record at a time: what it adds to an update is of that moment.

    With a folder `out`, records and results are kept there as `--out` keeps them; `metrics` show
    the figures of this process, named after the `algorithm`.

    Use as a context: leaving it closes files and ports. Raises UsageError if there are records
    already, or where figures cannot be shown.
    """

    def __init__(
        self, launch: Launch, algorithm: str, out: Path | None, metrics: Sequence[Target] = ()
    ) -> None:
        self.tally, self.digest = Tally(launch.learners), TimingDigest()
        self._meter = Meter(launch.learners, [launch.rank])
        self.staleness: int | None = None
        """Of the last update; None before the first."""
        self._out = out
        listening: list[Observer] = [self.tally, self.digest]
        with ExitStack() as opened:
            if out is not None:
                recorder = Recorder(out, rank=launch.rank, seconds_per_flush=SECONDS_PER_FLUSH)
                listening.append(opened.enter_context(recorder))
            if metrics:
                listening += shown(metrics, opened, self._meter, algorithm, launch, [])
            self._listening = fan(*listening)
            self._opened = opened.pop_all()
        self._loss: float | None = None
        self._rate = 0.0
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def watch(self, transport: Callable[[], Transport]) -> None:
        """Have metrics show what the transport says of itself."""
        self._meter.attach(transport)

    def tell(self, loss: float | None, learning_rate: float) -> None:
        """What the loop knows of the update that comes next."""
        self._loss, self._rate = loss, learning_rate

    def close_updates(self) -> None:
        """Whatever is applied from now on is none of the loop's: it was left."""
        self._closed = True

    def span(self, span: Span) -> None:
        """An effect was answered."""
        self._listening.span(span)

    def update(self, time_s: float, update: Update) -> None:
        """An update was applied."""
        if self._closed:
            return
        self.staleness = update.staleness
        told = update._replace(loss=self._loss, learning_rate=self._rate)
        self._listening.update(time_s, told)

    def keep(self, summary: Summary, tally: Tally) -> None:
        """Write the results beside the records, if there is a folder."""
        if self._out is not None:
            (self._out / "summary.json").write_text(summary.to_json() + "\n")
            (self._out / "tally.json").write_bytes(msgspec.json.encode(tally.to_builtins()))
