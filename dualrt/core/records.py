"""Records: what both drivers say happened. Everything that people look at is made from these.

Owns the two kinds of record and the protocols of those who listen, to one record at a time or to
many at once. Must not know where records go.

Times are seconds since the run began, virtual or real.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias, runtime_checkable


class Lane(NamedTuple):
    """What spans of one kind have in common: the first fields of a `Span`."""

    learner: int
    strand: str
    kind: str


Row: TypeAlias = tuple[float, float, int, int, int]
"""The other fields of a `Span`: start_s, end_s, bytes, peer, step."""


class Span(NamedTuple):
    """One effect of one strand, from the moment it was asked for to its answer."""

    learner: int
    strand: str
    kind: str
    """What it was: "gradient", "blend", "send offer", "recv answer", "allreduce all" ..."""
    start_s: float
    end_s: float
    bytes: int
    peer: int
    """The other learner; -1 where there is none."""
    step: int

    @property
    def lane(self) -> Lane:
        """Whose it is, and of which kind."""
        return Lane(self.learner, self.strand, self.kind)

    @property
    def row(self) -> Row:
        """All else."""
        return self.start_s, self.end_s, self.bytes, self.peer, self.step


class Update(NamedTuple):
    """One gradient applied to one learner's weights."""

    learner: int
    step: int
    """Updates that this learner has applied, this one included."""
    epoch: float
    """Global progress as this learner knew it."""
    learning_rate: float
    loss: float | None
    """Training loss of the mini-batch; None where nothing is computed."""
    staleness: int
    """Versions of any one learner's weights that entered these weights between the read of the
    weights that the gradient was taken at and its application: the maximum over learners."""
    missed: int
    """The same summed over all learners: every update that the gradient did not see."""
    samples: int
    """Samples that the gradient stands for."""


class Observer(Protocol):
    """Listens to a run. Called from one thread at a time."""

    def span(self, span: Span) -> None:
        """An effect was answered."""

    def update(self, time_s: float, update: Update) -> None:
        """An update was applied at `time_s`."""


@runtime_checkable
class BulkObserver(Observer, Protocol):
    """One to whom only the order within a lane matters, and who takes many records at once.

    To sort spans by lane once, where they arise, costs a fraction of a call for each.
    """

    def bulk_spans(self, lane: Lane, rows: Sequence[Row]) -> None:
        """Effects were answered, in this order. `rows` is the caller's, and not to be kept."""

    def bulk_updates(self, applied: Sequence[tuple[float, Update]]) -> None:
        """Updates were applied, at these times and in this order."""


Times: TypeAlias = Any
"""Seconds, one for each of several learners: an array of doubles, numpy's or `array.array`."""

ChorusRow: TypeAlias = tuple[Times, Times, int, int]
"""Starts and ends of what several learners did alike, its bytes, and the step; no peer."""


@runtime_checkable
class ChorusObserver(BulkObserver, Protocol):
    """One that takes the records of learners in unison as they arise: a row for all of them."""

    def chorus_spans(self, lanes: Sequence[Lane], rows: Sequence[ChorusRow]) -> None:
        """Effects were answered, in this order, at each of `lanes`. Neither is to be kept."""


def solos(lanes: Sequence[Lane], rows: Sequence[ChorusRow]) -> Iterator[tuple[Lane, list[Row]]]:
    """The same for a `BulkObserver`: the rows of each lane."""
    for place, lane in enumerate(lanes):
        yield (
            lane,
            [
                (float(starts_s[place]), float(ends_s[place]), size, -1, step)
                for starts_s, ends_s, size, step in rows
            ],
        )


Heed: TypeAlias = Callable[[float, Update], None]
"""What is called with an update, and when it was applied, as soon as that is known."""


@runtime_checkable
class HastyObserver(BulkObserver, Protocol):
    """One that takes records in bulk, but must know of an update at once: it may stop the run.

    For its sake nobody else has to be told one record at a time.
    """

    @property
    def heeds(self) -> Sequence[Heed]:
        """Whom to tell of each update at once; `bulk_updates` tells of it again."""
