"""Unison: learners that do the same, simulated as one.

Owns the times of all while one of them, the *voice*, runs for all. Must not know any algorithm:
who is in unison, the algorithm's `Layout` says.

Learners in unison differ in nothing but how long their devices take, and between two collectives
nobody can tell how far they are: what they ask for next depends on no time. So the voice's
computations need no events. Each member has a clock of its own, which every computation advances by
what that member's device takes, draw by draw and slow period by slow period as in a run of all. A
collective starts when its last member is there; there the voice waits for the latest of the clocks,
and there the clocks meet again. Every member's spans and updates are written with its own times.

So the run of the voice is that of all, to the bit, for the cost of one. Where numbers are computed
members differ in more, where a collective slows their computations times do depend on it, and where
they may crash or are watched one by one it would show: there each is simulated.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from operator import itemgetter
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dualrt.core.effects import (
    AllReduce,
    Broadcast,
    Compute,
    Cost,
    Effect,
    MeanGradient,
    Place,
    Report,
)
from dualrt.core.errors import RunError
from dualrt.core.journal import ChorusPen, Journal
from dualrt.core.learner import Learner
from dualrt.core.records import Lane, Update
from dualrt.core.weights import Gradient
from dualrt.sim.clock import Clock
from dualrt.sim.device import Company, Device
from dualrt.sim.overlap import Piece, ready_at
from dualrt.sim.process import PENDING, Answers, Process

Join: TypeAlias = Callable[
    [Process, "AllReduce | Broadcast", Callable[[Any], None], Sequence[int]], None
]
"""Arrives at a collective: the process, what it calls, what to wake it with, for which others."""

Spans: TypeAlias = "tuple[NDArray[np.float64], NDArray[np.float64]]"
"""Starts and ends of what all do."""


class Unison:
    """Answers the voice in the stead of a driver.

    Parameters: the `clock` and the `journal` of the run; the `ranks` in unison, the voice's first,
    and the `devices` of each; `join` lets the voice arrive at a collective; `over` is told when the
    last member has ended.
    """

    def __init__(
        self,
        clock: Clock,
        journal: Journal,
        ranks: Sequence[int],
        devices: Sequence[Device],
        join: Join,
        over: Callable[[Process, Any], None],
    ) -> None:
        self._clock, self.journal = clock, journal
        self._ranks, self._others = tuple(ranks), tuple(ranks[1:])
        self._devices = Company(devices)
        self._join, self._over = join, over
        self._ones = np.ones(len(ranks))
        self._clocks_s = clock.now * self._ones
        """Never written to: the journal keeps them."""
        self._reported: list[tuple[float, Update]] = []
        self._pens: dict[str, ChorusPen] = {}
        self.answers = Answers(
            {
                Compute: self._compute,
                AllReduce: self._collect,
                MeanGradient: self._overlap,
                Broadcast: self._collect,
                Report: self._report,
            },
            self._unknown,
        )
        """As a driver's; what cannot be done in unison raises RunError."""

    def enlist(self, voice: Learner) -> Process:
        """The process that runs for all, to be resumed.

        Raises RunError if the learner's strands are not one that ends.
        """
        strands = voice.strands()
        if len(strands) != 1 or strands[0].daemon:
            raise self._discord(voice.rank, "has other strands than one that ends")
        [strand] = strands
        return Process(self, voice, strand.name, strand.body(), self._ended)

    def _unknown(self, process: Process, effect: Effect[Any]) -> Any:
        raise self._discord(process.rank, f"asks for {effect!r}")

    def _compute(self, process: Process, effect: Compute[Any]) -> Any:
        if effect.on is not Place.DEVICE:
            raise self._discord(process.learner.rank, "computes on the host, which others share")
        self._advance(process, effect.cost)
        return effect.work()

    def _advance(self, process: Process, cost: Cost) -> None:
        starts_s = self._clocks_s
        ends_s = self._clocks_s = starts_s + self._devices.durations_s(cost, starts_s)
        write = self._pens.get(cost.kind) or self._pen(process, cost.kind)
        write((starts_s, ends_s, cost.bytes_moved, process.learner.draws))

    def _overlap(self, process: Process, effect: MeanGradient) -> Any:
        if self._reported:
            self._write_updates()
        starts_s = self._clocks_s
        self._advance(process, effect.cost)
        self._await_piece(process, effect, (starts_s, self._clocks_s), 0)
        return PENDING

    def _await_piece(
        self,
        process: Process,
        effect: MeanGradient,
        spans_s: Spans,
        place: int,
    ) -> None:
        """Each clock goes on to when its member has the piece, and the one before is averaged."""
        share, before_s = ready_at(effect.pieces)[place], self._clock.now if place else 0.0
        starts_s, ends_s = spans_s
        ready_s = ends_s if share == 1 else starts_s + share * (ends_s - starts_s)
        self._clocks_s = np.maximum(before_s, ready_s)
        self._at_the_latest(process, partial(self._average, effect, spans_s, place))

    def _average(
        self,
        effect: MeanGradient,
        spans_s: Spans,
        place: int,
        process: Process,
    ) -> None:
        last = place == len(effect.pieces) - 1
        gradient: Gradient[Any] | None = effect.work() if last else None
        piece = Piece(effect.pieces[place], None if gradient is None else gradient.vector)

        def averaged(mean: Any) -> None:
            self._meet(process, "allreduce", piece.nbytes)
            if gradient is None:
                self._await_piece(process, effect, spans_s, place + 1)
            else:
                process.resume(gradient._replace(vector=mean))

        self._join(process, AllReduce(effect.group, piece), averaged, self._others)

    def _report(self, _: Process, effect: Report) -> None:
        update = effect.update
        self._reported += [
            (time_s, update._replace(learner=rank))
            for time_s, rank in zip(self._clocks_s.tolist(), self._ranks, strict=True)
        ]

    def _write_updates(self) -> None:
        """In order of time: a member may apply several before another applies its first."""
        for time_s, update in sorted(self._reported, key=itemgetter(0)):
            self.journal.update(time_s, update)
        self._reported.clear()

    def _collect(self, process: Process, effect: AllReduce | Broadcast) -> Any:
        if self._reported:
            self._write_updates()
        self._at_the_latest(process, self._arrive)
        return PENDING

    def _at_the_latest(self, process: Process, then: Callable[[Process], None]) -> None:
        """Call `then` when the last of the clocks has come to its time."""
        clocks_s = self._clocks_s
        arrived_s = clocks_s.item(clocks_s.argmax())
        if arrived_s > self._clock.now:
            self._clock.at(arrived_s, then, process)
        else:
            then(process)

    def _arrive(self, process: Process) -> None:
        effect = process.effect
        if isinstance(effect, AllReduce):
            kind, size = "allreduce", effect.vector.nbytes
        else:
            kind, size = "broadcast", 0
            if effect.packet is not None:
                raise self._discord(process.learner.rank, "is the root of a broadcast")
        self._join(process, effect, partial(self._collected, process, kind, size), self._others)

    def _collected(self, process: Process, kind: str, size: int, answer: Any) -> None:
        self._meet(process, kind, size)
        process.resume(answer)

    def _meet(self, process: Process, kind: str, size: int) -> None:
        """A collective has ended: the clocks are the same again."""
        starts_s, ends_s = self._clocks_s, self._clock.now * self._ones
        write = self._pens.get(kind) or self._pen(process, kind)
        write((starts_s, ends_s, size, process.learner.draws))
        self._clocks_s = ends_s

    def _ended(self, process: Process, result: Any) -> None:
        self._write_updates()
        self._at_the_latest(process, lambda last: self._over(last, result))

    def _pen(self, process: Process, kind: str) -> ChorusPen:
        lanes = [Lane(rank, process.name, kind) for rank in self._ranks]
        pen = self._pens[kind] = self.journal.chorus(lanes)
        return pen

    def _discord(self, rank: int, what: str) -> RunError:
        return RunError(
            f"learner {rank} {what}, so it cannot stand for the {len(self._ranks)} that its "
            f"algorithm's layout says are in unison. Leave them out of Layout.unison"
        )
