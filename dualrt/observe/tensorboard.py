"""TensorBoard: the figures of a run as curves, in TensorBoard's event files.

Owns which curves there are, and how many points. The horizontal axis counts updates; wall time is
the run's own time, so a simulation's curves are in virtual time.

Points become rarer as a run goes on: no two are closer than a five-hundredth of what has passed. So
a run of a day has a few thousand of them, and the first minute can be looked at closely.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import HistogramProto, Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from dualrt.core.errors import UsageError
from dualrt.core.records import Lane, Observer, Row, Span, Update
from dualrt.observe.kinds import Activity
from dualrt.observe.meter import Meter, Reading
from dualrt.observe.metrics import Complain, Watched

SHARE = 1 / 500
"""Of the time that has passed, until the next point."""

FLUSH_S = 2
"""How much a crash may lose."""

WAITING_EVENTS = 1000
"""Points that may wait for the disk before training does."""


class EventFiles:
    """An observer that adds a point to each curve now and then, as `meter` has it by then.

    Files are in `folder`/ALGORITHM/rank-RANK, or `folder`/ALGORITHM/simulated. Raises UsageError if
    they cannot be made.
    """

    def __init__(self, folder: Path, meter: Meter, watched: Watched, complain: Complain) -> None:
        name = "simulated" if watched.rank is None else f"rank-{watched.rank}"
        # A class of the user's own is called module:Class.
        place = folder / watched.algorithm.replace(":", ".") / name
        try:
            self._writer = EventFileWriter(str(place), WAITING_EVENTS, FLUSH_S)
        except OSError as error:
            raise UsageError(
                f"--metrics tensorboard:{folder}: {place} cannot be written to "
                f"({error.strerror}). Name another folder"
            ) from error
        self.where = str(place)
        self._meter, self._watched, self._complain = meter, watched, complain
        self._due_s = 0.0
        self._before: Reading | None = None
        self._broken = False

    @property
    def observer(self) -> Observer:
        """This one: a point is due when an update comes."""
        return self

    def span(self, span: Span) -> None:
        """Nothing: the meter has it."""

    def bulk_spans(self, lane: Lane, rows: Sequence[Row]) -> None:
        """Nothing, as for one."""

    def update(self, time_s: float, update: Update) -> None:
        """Add a point if one is due."""
        if time_s >= self._due_s:
            self._due_s = time_s + max(self._watched.least_s, SHARE * time_s)
            self._add(self._meter.read())

    def bulk_updates(self, applied: Sequence[tuple[float, Update]]) -> None:
        """Add a point if one is due."""
        if applied:
            self.update(*applied[-1])

    def close(self) -> None:
        """Add the last point, and close the file."""
        reading = self._meter.read()
        if self._before is None or reading.updates > self._before.updates:
            self._add(reading)
        try:
            self._writer.close()
        except OSError as error:
            self._give_up(error)

    def _add(self, reading: Reading) -> None:
        if self._broken:
            return
        values = [
            Summary.Value(tag=tag, simple_value=value)
            for tag, value in _curves(reading, self._before).items()
        ]
        if reading.staleness:
            values.append(Summary.Value(tag="staleness", histo=_histogram(reading.staleness)))
        event = Event(
            wall_time=self._watched.wall_s(reading.time_s),
            step=reading.updates,
            summary=Summary(value=values),
        )
        self._before = reading
        try:
            self._writer.add_event(event)
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        """A run is worth more than its curves."""
        if not self._broken:
            self._broken = True
            self._complain(f"no more curves are written to {self.where}: {error}")


def _curves(reading: Reading, before: Reading | None) -> dict[str, float]:
    """The curves' values; rates and shares are of the time since the last point."""
    curves = {
        "epoch": reading.epoch,
        "learning_rate": reading.learning_rate,
        "samples": float(reading.samples),
        "sent_bytes": float(reading.sent_bytes),
        "received_bytes": float(reading.received_bytes),
        "exchange_seconds": reading.activity_s[Activity.EXCHANGE],
        "goodput_ratio": reading.goodput,
    }
    if reading.loss is not None:
        curves["loss"] = reading.loss
    if reading.updates:
        curves["staleness_mean"] = (
            sum(value * count for value, count in reading.staleness) / reading.updates
        )
    if reading.transport is not None:
        curves["lost_peers"] = float(reading.transport.lost_peers)
        curves["rejected_frames"] = float(sum(reading.transport.rejected.values()))
    if before is not None and reading.time_s > before.time_s:
        passed_s = reading.time_s - before.time_s
        curves["steps_per_second"] = (reading.steps - before.steps) / passed_s
        curves["samples_per_second"] = (reading.samples - before.samples) / passed_s
    return curves


def _histogram(staleness: Sequence[tuple[int, int]]) -> HistogramProto:
    """Exact: a bucket for each value that occurred."""
    values = [value for value, _ in staleness]
    return HistogramProto(
        min=values[0],
        max=values[-1],
        num=sum(count for _, count in staleness),
        sum=sum(value * count for value, count in staleness),
        sum_squares=sum(value * value * count for value, count in staleness),
        bucket_limit=values,
        bucket=[count for _, count in staleness],
    )
