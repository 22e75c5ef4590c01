"""The real runtime's driver: makes effects happen.

Owns one learner's strands, each on a thread of its own, and their end. Must not know any algorithm,
nor how bytes travel: it asks the gossip and the collectives.

Every wait is at a gate of the mailbox or of the collectives, or on the stop event; each has a bound
and all end at once when the run is stopped. So an error anywhere, or a signal, ends all strands.

A clean end: when the strands that are no daemons have returned, the learner says good-bye and its
daemons go on answering until everyone has; then what is left in the mailbox is worked off, so that
nothing is lost from the sum over learners.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import torch

from dualrt.core.bodies import Story, drop, exhaust, new_story, told
from dualrt.core.effects import (
    AllReduce,
    Awaited,
    Body,
    Broadcast,
    Compute,
    Delivery,
    Effect,
    Leave,
    MeanGradient,
    Now,
    Packet,
    Place,
    Recv,
    Report,
    Send,
    Sleep,
    Together,
)
from dualrt.core.errors import (
    DualrtError,
    Loss,
    PeerLostError,
    RunError,
    StalledError,
    StrandError,
)
from dualrt.core.faults import Crash, Slowdown
from dualrt.core.learner import Learner, Strand
from dualrt.core.order import Witness
from dualrt.core.records import Lane, Observer
from dualrt.real.attempts import Keeping, Party
from dualrt.real.chronicle import Chronicle
from dualrt.real.collectives import Call, Collectives
from dualrt.real.events import Events
from dualrt.real.failures import FailedElsewhereError, heed
from dualrt.real.gate import Gate
from dualrt.real.gossip import Gossip
from dualrt.real.helpers import Helpers
from dualrt.real.lanes import HOST, Lanes
from dualrt.real.lanes import Lane as DeviceLane
from dualrt.real.mishaps import Mishaps
from dualrt.real.rejoining import rejoin
from dualrt.real.reports import OverError, have_ended
from dualrt.real.staging import DeviceBodies
from dualrt.real.truce import Truce
from dualrt.real.witnessed import Unwitnessed, Witnessed

ENDING_S = 1.0
"""How long threads are waited for once the run is over: one may be in a long computation."""


class StoppedError(RunError):
    """The run was stopped from outside, or by another strand's error."""

    def __init__(self) -> None:
        super().__init__("the run was stopped")


class _Course(NamedTuple):
    """A strand under way, or a part of one that runs beside the others on a thread of its own."""

    name: str
    path: str | None
    """What it is called in the order that is kept of the run; None if it is not in there."""
    patience_s: float
    """How long it waits for a message."""
    story: Story
    lane: DeviceLane
    """What its thread asks of the device."""

    def part(self, place: int, lane: DeviceLane) -> _Course:
        """A part, which has a story of its own: no other thread appends while it is told."""
        path = None if self.path is None else f"{self.path}.{place}"
        return self._replace(path=path, story=new_story(), lane=lane)


class RealDriver:
    """Runs one learner in this process.

    Parameters: `collectives` may be None for an algorithm that has no groups; `device` is where
    the learner's vectors live, and `lanes` what threads ask of it, by default the device's own;
    `slowdowns` make it a straggler, and `crash` ends its process. The run began `began_ago_s` ago,
    for a learner that is started again, and takes the weights of another before all else; so does
    one that `rejoins`. With `keeping` its state is kept now and then. `witness` keeps the order of
    its turns. The driver closes neither gossip nor collectives, but stops both when the run fails.
    """

    def __init__(
        self,
        learner: Learner,
        gossip: Gossip,
        collectives: Collectives | None,
        observer: Observer,
        *,
        timeout_s: float,
        device: torch.device,
        slowdowns: Sequence[Slowdown] = (),
        crash: Crash | None = None,
        began_ago_s: float = 0.0,
        lanes: Lanes | None = None,
        events: Events | None = None,
        rejoins: bool = False,
        keeping: Keeping | None = None,
        witness: Witness | None = None,
    ) -> None:
        self._lanes = Lanes.of(device) if lanes is None else lanes
        self._events = events or Events(learner.rank)
        self._learner, self._gossip, self._collectives = learner, gossip, collectives
        self._order = (
            Unwitnessed(gossip) if witness is None else Witnessed(gossip, learner, witness)
        )
        learner.lost = self._order.lost
        self._chronicle, self._mishaps = Chronicle(observer), Mishaps(slowdowns, crash)
        self._timeout_s, self._device = timeout_s, device
        if collectives is not None:
            gossip.watch(collectives.note)
        self._helpers = Helpers()
        self._threads: list[threading.Thread] = []
        self._stopping = threading.Event()
        # Guards and announces the counts below.
        self._gate = Gate()
        self._mains = self._daemons = 0
        self._began_ago_s = began_ago_s
        self._rejoins, self._keeping = rejoins or learner.seat.incarnation > 0, keeping
        self._truce: Truce | None = None
        if keeping is not None:
            party = Party(learner, gossip, keeping, timeout_s, self._events)
            self._truce = Truce(party, quiet=self._quiet, stop=self.stop)
            learner.keeper = self._truce
        self._began_s = time.monotonic()

    def run(self) -> float:
        """Run the learner to its end; returns the seconds until its last main strand returned.

        Raises StrandError when a strand raised, StalledError when another learner does not end,
        StoppedError when `stop` was called, OverError for a learner that is back too late.
        """
        own = tuple(self._learner.strands())
        self._order.begin(own)
        strands = (*own, Strand("heed", heed, daemon=True))
        if self._truce is not None:
            strands = (*strands, Strand("keep", self._truce.attend, daemon=True))
        self._daemons = sum(strand.daemon for strand in strands)
        self._mains = len(strands) - self._daemons
        self._began_s = time.monotonic() - self._began_ago_s
        self._mishaps.begin(self._began_ago_s)
        self._land()
        if self._rejoins:
            # Alone: what others ask of it meanwhile waits until it has weights.
            strands = (Strand("rejoin", partial(self._rejoin, strands)),)
            self._mains += 1
        for strand in strands:
            self._thread(partial(self._strand, strand))
        try:
            with self._gate:
                self._gate.wait(lambda: not self._mains, math.inf)
            elapsed_s = self._now_s()
            if self._truce is not None:
                self._truce.over()
                self._truce.close()
            self._end()
        except BaseException:
            self.stop()
            raise
        finally:
            # What comes now is for who gathers the results.
            self._gossip.land(None)
            self._helpers.close()
            self._chronicle.flush()
        # The daemons wait for messages that nobody sends, until the gossip is closed.
        self._stopping.set()
        return elapsed_s

    def _land(self) -> None:
        """Have the bodies that strands will take arrive on the device."""
        lane = self._lanes.of_strand(daemon=True)
        if lane.apart:
            self._gossip.land(DeviceBodies(lane))

    async def _rejoin(self, strands: Sequence[Strand]) -> None:
        await rejoin(self._learner, self._keeping, self._events)
        for strand in strands:
            self._thread(partial(self._strand, strand))

    def _end(self) -> None:
        silent = self._gossip.finish(self._timeout_s)
        if silent:
            raise StalledError(
                f"learners {sorted(silent)} had not ended {self._timeout_s:g} s after "
                f"learner {self._learner.rank}"
            )
        have_ended()
        self._quiet(self._timeout_s)

    def _quiet(self, timeout_s: float) -> bool:
        """Wait until all daemons have done what was asked of them; whether they have."""
        with self._gate:
            daemons = self._daemons
        return self._gossip.await_quiet(daemons, timeout_s)

    def preempt(self) -> None:
        """Keep the state of all learners, and end with PreemptedError. Any thread may call this.

        Without checkpoints it is `stop`.
        """
        if self._truce is None:
            self.stop()
        else:
            self._truce.preempt()

    def stop(self, error: DualrtError | None = None) -> None:
        """End all strands; any thread, or a signal handler's thread, may call this. Idempotent."""
        error = error or StoppedError()
        self._stopping.set()
        self._gate.close(error)
        self._gossip.stop_waiting(error)
        if self._truce is not None:
            self._truce.stop(error)
        if self._collectives is not None:
            self._collectives.stop(error)

    def join(self) -> None:
        """Wait until no thread of the run is left, once it is over and the gossip is closed.

        Not for longer than `ENDING_S`: a computation may never return. A thread that still drops
        tensors while the interpreter ends would abort the process.
        """
        end_s = time.monotonic() + ENDING_S
        for thread in (*self._threads, *self._helpers.threads):
            thread.join(max(0.0, end_s - time.monotonic()))

    def _thread(self, run: Callable[[], None]) -> None:
        # A Python daemon: a computation that never returns must not keep the process alive.
        thread = threading.Thread(target=run, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _strand(self, strand: Strand) -> None:
        # What a daemon waits for may never come, and nobody waits for the daemon.
        patience_s = math.inf if strand.daemon else self._timeout_s
        path = self._order.path(strand)
        course = _Course(strand.name, path, patience_s, new_story(), HOST)
        try:
            lane = self._lanes.of_strand(daemon=strand.daemon)
            with lane.use(), self._order.on(course.path):
                self._exhaust(course._replace(lane=lane), strand.body())
        except StoppedError:
            return
        except BaseException as cause:
            # SystemExit too: it would end this thread only, and nobody would know.
            self._fail(course, cause)
            return
        with self._gate:
            if strand.daemon:
                self._daemons -= 1
            else:
                self._mains -= 1
            self._gate.announce()

    def _fail(self, course: _Course, cause: BaseException) -> None:
        if self._stopping.is_set():
            # The end of another strand, seen from here; the first error is the one to tell.
            return
        if isinstance(cause, (FailedElsewhereError, OverError)):
            self.stop(cause)
            return
        story = [told(effect) for effect in course.story]
        error = StrandError(self._learner.rank, course.name, self._learner.draws, story, cause)
        error.__cause__ = cause
        self.stop(error)

    def _exhaust(self, course: _Course, body: Body[Any]) -> Any:
        def answer(effect: Effect[Any]) -> Any:
            try:
                return self._answer(course, effect)
            except PeerLostError as error:
                self._order.told(error)
                raise

        return exhaust(body, answer, course.story, passes_by=(StoppedError,))

    def _answer(self, course: _Course, effect: Effect[Any]) -> Any:
        if self._stopping.is_set():
            if isinstance(effect, Together):
                for child in effect.children:
                    drop(child)
            raise StoppedError()
        self._mishaps.at_step(self._learner.draws)
        start_s = self._now_s()
        match effect:
            case Compute(work=work, cost=cost, on=on):
                answer = work()
                course.lane.mark().wait()
                if on is Place.DEVICE:
                    self._lag(start_s)
                self._span(course, cost.kind, start_s, cost.bytes_moved)
                return answer
            case Recv(tag=tag, peer=peer):
                sender, packet = self._receive(course, tag, peer, start_s)
                self._span(course, "recv " + tag, start_s, packet.nbytes, sender)
                return Delivery(sender, self._here(packet))
            case Send(peer=peer, tag=tag, packet=packet):
                self._order.send(effect, course.lane)
                self._span(course, "send " + tag, start_s, packet.nbytes, peer)
                return None
            case Report(update=update):
                self._chronicle.update(start_s, update)
                return None
            case Together(children=children):
                return self._together(course, children)
            case AllReduce(group=group, vector=vector, spent=spent):
                answer = self._groups.allreduce(group, vector, spent=spent)
                self._span(course, "allreduce", start_s, vector.nbytes)
                return answer
            case MeanGradient():
                return self._mean_gradient(course, effect, start_s)
            case Broadcast(group=group, root=root, packet=packet):
                answer = self._groups.broadcast(group, root, packet)
                self._span(course, "broadcast", start_s, 0 if packet is None else packet.nbytes)
                return answer
            case Leave(group=group, peer=peer):
                self._groups.leave(group, peer)
                return None
            case Sleep(duration_s=duration_s):
                if self._stopping.wait(duration_s):
                    raise StoppedError()
                # So that who sleeps until something is so does it as often again.
                self._order.knew("slept", duration_s)
                return None
            case Now():
                return self._order.knew("now", start_s)
            case _:
                raise RunError(f"the real runtime does not know the effect {effect!r}")

    def _mean_gradient(self, course: _Course, effect: MeanGradient, start_s: float) -> Any:
        """Each piece is reduced, on the collectives' thread, while this one computes the next."""
        groups, group = self._groups, effect.group
        begun: list[tuple[float, int, Call]] = []
        from_s = start_s

        def ready(piece: torch.Tensor) -> None:
            nonlocal from_s
            # Here and not at the end: a slow device is late with each piece, and one that is asked
            # for pieces ahead takes as long for each as it takes.
            if self._mishaps.slow_at(from_s):
                course.lane.mark().wait()
            self._lag(from_s)
            from_s = self._now_s()
            begun.append((from_s, piece.nbytes, groups.begin_sum(group, piece)))

        share = 1 / len(group.ranks)
        gradient = effect.work.in_pieces(effect.pieces, share, ready)
        course.lane.mark().wait()
        self._lag(from_s)
        self._span(course, effect.cost.kind, start_s, effect.cost.bytes_moved)
        ended_s = start_s
        for ready_s, nbytes, call in begun:
            groups.finish(call)
            began_s, ended_s = max(ready_s, ended_s), call.over_s - self._began_s
            self._span(course, "allreduce", began_s, nbytes, end_s=ended_s)
        return gradient

    def _together(self, course: _Course, children: Sequence[Awaited[Any]]) -> tuple[Any, ...]:
        """All but the first on helper threads; the first error of any ends the run."""
        results: list[Any] = [None] * len(children)

        def run(place: int, child: Awaited[Any], lane: DeviceLane) -> None:
            part = course.part(place, lane)
            try:
                with lane.use(), self._order.on(part.path):
                    if isinstance(child, Effect):
                        part.story.append(child)
                        results[place] = self._answer(part, child)
                    else:
                        results[place] = self._exhaust(part, child)
            except StoppedError:
                pass
            except BaseException as cause:
                self._fail(part, cause)

        forked = []
        for place, child in enumerate(children[1:], 1):
            lane = self._lanes.fork(course.lane)
            forked.append((lane, self._helpers.start(partial(run, place, child, lane))))
        for child in children[:1]:
            run(0, child, course.lane)
        for lane, wait in forked:
            # Bounded: whatever the helper waits for is, and ends when the run is stopped.
            wait()
            self._lanes.join(course.lane, lane)
        if self._stopping.is_set():
            raise StoppedError()
        return tuple(results)

    def _receive(
        self, course: _Course, tag: str, peer: int | None, start_s: float
    ) -> tuple[int, Packet]:
        """Raises PeerLostError for a peer that is lost, or silent for as long as one may be."""
        try:
            return self._gossip.recv(tag, peer, course.patience_s)
        except (StalledError, PeerLostError) as error:
            if peer is None:
                raise
            self._span(course, "recv " + tag, start_s, 0, peer)
            if isinstance(error, PeerLostError):
                raise
            why = f"it was silent for {course.patience_s:g} s"
            raise PeerLostError(peer, why, Loss.SILENT) from error

    @property
    def _groups(self) -> Collectives:
        if self._collectives is None:
            raise RunError("a collective was asked for, but the algorithm's layout names no group")
        return self._collectives

    def _lag(self, start_s: float) -> None:
        """Be the straggler that the scenario asks for."""
        lag_s = self._mishaps.lag_s(start_s, self._now_s() - start_s)
        if lag_s:
            self._stopping.wait(lag_s)

    def _here(self, packet: Packet) -> Packet:
        """What came to the host's memory, because it was there before we were, is on the device."""
        if packet.body is None or packet.body.device == self._device:
            return packet
        return replace(packet, body=packet.body.to(self._device))

    def _now_s(self) -> float:
        return time.monotonic() - self._began_s

    def _span(
        self,
        course: _Course,
        kind: str,
        start_s: float,
        nbytes: int,
        peer: int = -1,
        end_s: float | None = None,
    ) -> None:
        """Record an effect that has been answered, now or at `end_s`."""
        lane = Lane(self._learner.rank, course.name, kind)
        ended_s = self._now_s() if end_s is None else end_s
        row = start_s, ended_s, nbytes, peer, self._learner.draws
        self._chronicle.span(lane, row)
