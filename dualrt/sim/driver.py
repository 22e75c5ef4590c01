"""The simulator's driver: answers effects in virtual time.

Owns the answer to each effect, and the count of what is under way. Must not know any algorithm,
and no physics: seconds come from the device model, the network and the collectives.

What is answered at once (buffered sends, waiting mail, the time, reports) never enters the event
queue; everything else is one event or one flow.

The run is over when every strand that is no daemon has returned, and its figures are of the time
until then. Then what is still under way (an answer being blended, a message on the wire) is brought
to its end, so that nothing is lost from the sum over learners.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import simpy
from simpy.core import EmptySchedule

from dualrt.core.effects import (
    AllReduce,
    Broadcast,
    Compute,
    Cost,
    Delivery,
    Effect,
    Group,
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
from dualrt.core.errors import DeadlockError, RunError, UsageError
from dualrt.core.faults import Slowdown, Toll
from dualrt.core.journal import Journal
from dualrt.core.learner import Learner
from dualrt.core.records import Observer
from dualrt.core.seeds import derive, stream
from dualrt.sim.clock import Clock
from dualrt.sim.cluster import Cluster, ClusterSpec
from dualrt.sim.collectives import Collectives, CollectiveSpec
from dualrt.sim.device import Device, DeviceSpec
from dualrt.sim.garbage import collected_rarely
from dualrt.sim.interference import Disturbed, Mark
from dualrt.sim.network import Network, Way
from dualrt.sim.numerics import Numerics
from dualrt.sim.overlap import AwaitPiece, MarkedCompute, Overlap, mean_of
from dualrt.sim.process import PENDING, Answers, Process
from dualrt.sim.processors import Processors
from dualrt.sim.rendezvous import Meeting, Rendezvous
from dualrt.sim.transport import Transport
from dualrt.sim.unison import Unison

SHOWN = 8
"""How many stuck strands an error lists."""

EVENTS_PER_FLUSH, EVENTS_PER_LANE = 8192, 16
"""Events between two flushes of the journal: so many, and so many more for each of its lanes. Fewer
would leave a lane with a row or two, more would hold records in memory for nothing."""

_HOST = Place.HOST  # to ask the class for it takes ten times as long

EFFECTS_AFTER_THE_END = 1000
"""Computations and messages, for each learner, that daemons may take to answer what is left."""


class _Kinds(dict[str, str]):
    """The kinds of spans about messages, by tag: joined once, not a hundred thousand times."""

    def __init__(self, word: str) -> None:
        self._word = word

    def __missing__(self, tag: str) -> str:
        kind = self[tag] = f"{self._word} {tag}"
        return kind


class Machine(NamedTuple):
    """What is simulated under the learners."""

    cluster: ClusterSpec
    device: DeviceSpec
    seed: int
    slowdowns: Mapping[int, Sequence[Slowdown]]
    """Stragglers: for a learner, when it is slow and by which factor."""
    collectives: CollectiveSpec = CollectiveSpec()


class _Stop(Exception):  # noqa: N818 - no error, as StopIteration is none
    """Takes `run` out of the event queue, from within."""


class Simulator:
    """Runs learners on a simulated machine.

    Parameters: the `learners` in rank order, the `machine`, and the `observer` of spans and
    updates. `together`: whether to take gradients together (`dualrt.sim.numerics`). `unison`: sets
    of ranks of which the first may run for all (`dualrt.sim.unison`), as it does if the observer
    takes records in bulk. Raises UsageError if the machine has too few devices, or cannot do the
    learners' collectives as it is told to.
    """

    def __init__(
        self,
        learners: Sequence[Learner],
        machine: Machine,
        observer: Observer,
        *,
        together: bool = False,
        unison: Sequence[Sequence[int]] = (),
    ) -> None:
        self._learners = learners
        self._numerics = Numerics(together=True) if together else None
        self.journal = Journal(observer)
        self._env = Clock()
        self._network = Network(self._env)
        self.cluster = Cluster(machine.cluster, self._network)
        for learner in learners:
            self.cluster.place(learner.rank)
        self._collectives = Collectives(
            self.cluster, self._network, machine.collectives, learners[0].weights.tensors_bytes
        )
        for group in learners[0].seat.layout.groups:
            self._collectives.check(group.ranks)
        self._rendezvous = Rendezvous()
        self._devices = [self._device(machine, learner.rank) for learner in learners]
        self._durations_s = [device.duration_s for device in self._devices]
        interference = machine.device.interference
        self._processors: Processors | None = None
        self._disturbed: Disturbed | Processors | None = None
        if machine.cluster.processors_per_server < math.inf:
            self._disturbed = self._processors = Processors(self._env, self.cluster, self._devices)
        elif interference:
            self._disturbed = Disturbed(self._env, self._devices, interference)
        self._transport = Transport(self._network, self.cluster, self._disturbed)
        # A span that is written ahead of its time is out of place where each is told at once, and
        # a collective that disturbs its members' computations moves their ends.
        in_unison = self.journal.in_bulk and self._disturbed is None
        self._unison = {ranks[0]: ranks for ranks in unison} if in_unison else {}
        self._spoken_for = {rank for ranks in self._unison.values() for rank in ranks[1:]}
        self._device_free_s = [0.0] * len(learners)
        self._host_ways: dict[int, Way] = {}
        self._host_cap = machine.cluster.host_thread_bytes_per_s
        self._mains: dict[Process, None] = {}
        self._daemons: dict[Process, None] = {}
        self._under_way = 0
        self._allowed = EFFECTS_AFTER_THE_END * len(learners)
        self._sends, self._recvs = _Kinds("send"), _Kinds("recv")
        self._broadcasts = [f"broadcast from {learner.rank}" for learner in learners]
        self._answers = Answers(
            {
                Compute: self._compute,
                Recv: self._recv,
                Send: self._send,
                Report: self._report,
                Together: self._together,
                AllReduce: self._allreduce,
                MeanGradient: self._mean_gradient,
                MarkedCompute: self._compute_marked,
                AwaitPiece: self._await_piece,
                Broadcast: self._broadcast,
                Sleep: self._sleep,
                Now: self._now,
            },
            self._unknown,
        )
        self.elapsed_s = 0.0
        self.is_over = False
        self.links: list[tuple[str, float]] = []
        """After the run: all links and what part of each it has used, as `Cluster.busiest`."""

    @property
    def present(self) -> Mapping[int, Learner]:
        """The learners that are there, by rank."""
        return {learner.rank: learner for learner in self._learners}

    @property
    def toll(self) -> Toll | None:
        """What faults have done; None where nothing goes wrong."""
        return None

    def _device(self, machine: Machine, rank: int) -> Device:
        seed, periods = machine.seed, machine.device.slow_periods
        weather = None
        if periods is not None:
            together = periods.scope == "server"
            place = self.cluster.place(rank).server if together else rank
            weather = stream(seed, "slow periods", periods.scope, place)
        return Device(
            machine.device,
            stream(seed, "device", rank),
            np.random.Generator(np.random.Philox(derive(seed, "jitter", rank))),
            machine.slowdowns.get(rank, ()),
            weather,
        )

    def run(self) -> float:
        """Run to the end; returns the virtual seconds until the last learner had ended.

        Raises StrandError when a learner raised, DeadlockError when learners wait for one another
        and nothing is under way. Ends at once after `stop`.
        """
        try:
            with collected_rarely():
                return self._run()
        finally:
            self.journal.flush()
            for process in (*self._mains, *self._daemons):
                process.close()

    def _run(self) -> float:
        try:
            self._start()
            while self._mains or self._under_way or self._transport.in_flight:
                if self._mains:
                    # Whoever takes the last of them away halts the clock.
                    self._env.go(EVENTS_PER_FLUSH + EVENTS_PER_LANE * self.journal.lanes)
                    self.journal.flush()
                else:
                    self._env.step()
        except EmptySchedule:
            raise self._deadlock() from None
        except _Stop:
            if not self.is_over:
                self._end()
        return self.elapsed_s

    def stop(self) -> None:
        """End the run at this instant, for an observer that has seen enough.

        What is under way is dropped, so the sum over learners is not conserved.
        """

        def raise_it(_: simpy.Event) -> None:
            raise _Stop

        # As an event, because an observer is called in the midst of somebody's effect.
        self._after(0.0, raise_it)

    def _start(self) -> None:
        for learner in self._learners:
            ranks = self._unison.get(learner.rank)
            if ranks is not None:
                self._mains[self._voice(learner, ranks)] = None
            elif learner.rank not in self._spoken_for:
                self._enlist(learner)
        for process in (*self._daemons, *self._mains):
            process.start()

    def _enlist(self, learner: Learner) -> list[Process]:
        """Make a process of each of a learner's strands, to be resumed."""
        enlisted = []
        for strand in learner.strands():
            if strand.daemon:
                process = Process(self, learner, strand.name, strand.body(), self._daemon_over)
                self._daemons[process] = None
            else:
                process = Process(self, learner, strand.name, strand.body(), self._main_over)
                self._mains[process] = None
            enlisted.append(process)
        return enlisted

    def _voice(self, learner: Learner, ranks: Sequence[int]) -> Process:
        """The process that runs for all of `ranks`."""
        devices = [self._devices[rank] for rank in ranks]
        unison = Unison(self._env, self.journal, ranks, devices, self._join, self._main_over)
        return unison.enlist(learner)

    def _main_over(self, process: Process, _: Any) -> None:
        del self._mains[process]
        if not self._mains:
            self._end()

    def _end(self) -> None:
        """This instant is the run's end; what is under way is no more of it."""
        self._env.halt()
        self.is_over = True
        self.elapsed_s = self._env.now
        self.links = self.cluster.busiest(self.elapsed_s)
        # Here and not in each answer, which is asked for a hundred thousand times before.
        for kind in (Compute, Send):
            self._answers[kind] = partial(self._after_the_end, self._answers[kind])

    def _after_the_end(
        self, answer: Callable[[Process, Any], Any], process: Process, effect: Effect[Any]
    ) -> Any:
        """As long as daemons work off what is left; RunError for one that goes on by itself."""
        self._allowed -= 1
        if self._allowed < 0:
            raise RunError(
                "all learners have ended, and this daemon goes on by itself. A daemon only answers "
                "others; a strand that does more has to be none, and to return at the end"
            )
        return answer(process, effect)

    def _daemon_over(self, process: Process, _: Any) -> None:
        del self._daemons[process]

    def _deadlock(self) -> DeadlockError:
        stuck = [f"\n  {part}" for process in self._mains for part in process.waiting()]
        if len(stuck) > SHOWN:
            stuck[SHOWN:] = [f"\n  and {len(stuck) - SHOWN} more"]
        return DeadlockError(
            f"at {self._env.now:.6f} s every live strand waits and nothing is under way:"
            + "".join(stuck)
        )

    @property
    def answers(self) -> Answers:
        """How it answers each effect.

        One that it does not know raises RunError, a peer that is not in the run UsageError.
        """
        return self._answers

    def _unknown(self, _: Process, effect: Effect[Any]) -> Any:
        raise RunError(f"the simulator does not know the effect {effect!r}")

    def _now(self, _: Process, __: Now) -> float:
        return self._env.now

    def _sleep(self, process: Process, effect: Sleep) -> Any:
        self._after(effect.duration_s, lambda _: process.resume())
        return PENDING

    def _report(self, _: Process, effect: Report) -> None:
        self.journal.update(self._env.now, effect.update)

    def _compute(self, process: Process, effect: Compute[Any], marks: Sequence[Mark] = ()) -> Any:
        """`marks` are told from here only where the device is disturbed."""
        process.work = effect.work if self._numerics is None else self._numerics.begin(effect.work)
        self._under_way += 1
        if effect.on is _HOST:
            process.since_s = self._env.now
            rank, done = process.rank, partial(self._computed, process)
            if self._processors is not None:
                self._processors.run(rank, effect.cost.bytes_moved / self._host_cap, done)
                return PENDING
            way = self._host_ways.get(rank) or self._host_way(rank)
            self._network.carry(way, effect.cost.bytes_moved, done, self._host_cap)
            return PENDING
        if self._disturbed is not None:
            done = partial(self._disturbed_done, process)
            self._disturbed.compute(process.rank, effect.cost, done, marks)
            return PENDING
        # One kernel sequence at a time: what is asked for meanwhile starts when the last ends.
        rank, free_s, start_s = process.rank, self._device_free_s, self._env.now
        if free_s[rank] > start_s:  # noqa: PLR1730 - max() would take four times as long
            start_s = free_s[rank]
        process.since_s = start_s
        end_s = free_s[rank] = start_s + self._durations_s[rank](effect.cost, start_s)
        self._env.at(end_s, self._computed, process)
        return PENDING

    def _host_way(self, rank: int) -> Way:
        way = self._host_ways[rank] = self._network.way(self.cluster.host_route(rank))
        return way

    def _compute_marked(self, process: Process, effect: MarkedCompute) -> Any:
        marks = [(share, effect.tell) for share in effect.marks]
        answer = self._compute(process, effect, marks)
        if self._disturbed is None:
            start_s, end_s = process.since_s, self._device_free_s[process.rank]
            for share, tell in marks:
                self._env.at(start_s + share * (end_s - start_s), tell, None)
        return answer

    def _disturbed_done(self, process: Process, start_s: float) -> None:
        process.since_s = start_s
        self._computed(process)

    def _computed(self, process: Process) -> None:
        self._under_way -= 1
        cost: Cost = process.effect.cost
        process.pens[cost.kind](
            (process.since_s, self._env.now, cost.bytes_moved, -1, process.learner.draws)
        )
        try:
            result = process.work()
        except Exception as error:
            process.raise_at_await(error)
        else:
            process.resume(result)

    def _send(self, process: Process, effect: Send) -> None:
        peer, packet = effect.peer, effect.packet
        if not 0 <= peer < len(self._learners):
            raise UsageError(f"there is no learner {peer} to talk to")
        self._transport.send(process.rank, peer, effect.tag, packet, effect.round_)
        self._span(process, self._sends[effect.tag], self._env.now, packet.nbytes, peer)

    def _recv(self, process: Process, effect: Recv) -> Any:
        process.since_s = self._env.now
        wake = partial(self._received, process)
        delivery = self._transport.receive(process.rank, effect.tag, effect.peer, wake)
        if delivery is None:
            return PENDING
        self._take(process, delivery)
        return delivery

    def _received(self, process: Process, delivery: Delivery) -> None:
        self._take(process, delivery)
        process.resume(delivery)

    def _take(self, process: Process, delivery: Delivery) -> None:
        effect: Recv = process.effect
        sender, packet = delivery
        self._span(process, self._recvs[effect.tag], process.since_s, packet.nbytes, sender)

    def _together(self, parent: Process, effect: Together[Any]) -> Any:
        if not effect.children:
            return ()
        for part in parent.split(effect.children, self._part_over):
            part.start()
        # Counted among those under way until here, so that none of its parts has resumed it: a
        # strand may do this any number of times in one instant.
        parent.remaining -= 1
        if parent.remaining:
            return PENDING
        parent.parts = ()
        return tuple(parent.results)

    def _part_over(self, part: Process, result: Any) -> None:
        parent = part.parent
        assert parent is not None
        parent.results[part.place] = result
        parent.remaining -= 1
        if not parent.remaining:
            parent.parts = ()
            parent.resume(tuple(parent.results))

    def _mean_gradient(self, parent: Process, effect: MeanGradient) -> Any:
        for part in parent.split(Overlap(effect).bodies, self._averaged):
            part.start()
        parent.remaining -= 1
        return PENDING

    def _await_piece(self, process: Process, effect: AwaitPiece) -> Any:
        return None if effect.overlap.await_piece(effect.place, process.resume) else PENDING

    def _averaged(self, part: Process, result: Any) -> None:
        parent = part.parent
        assert parent is not None
        parent.results[part.place] = result
        parent.remaining -= 1
        if parent.remaining:
            return
        parent.parts = ()
        gradient, mean = parent.results
        if isinstance(mean, Exception):
            parent.raise_at_await(mean)
        else:
            parent.resume(gradient._replace(vector=mean))

    def _allreduce(self, process: Process, effect: AllReduce) -> Any:
        process.since_s = self._env.now
        self._join(
            process, effect, partial(self._collected, process, "allreduce", effect.vector.nbytes)
        )
        return PENDING

    def _broadcast(self, process: Process, effect: Broadcast) -> Any:
        size = 0 if effect.packet is None else effect.packet.nbytes
        process.since_s = self._env.now
        self._join(process, effect, partial(self._collected, process, "broadcast", size))
        return PENDING

    def _join(
        self,
        process: Process,
        effect: AllReduce | Broadcast,
        wake: Callable[[Any], None],
        others: Sequence[int] = (),
    ) -> None:
        """Arrive at a collective, also for `others`; it starts if no member is missing."""
        learner, group = process.learner, effect.group
        if isinstance(effect, AllReduce):
            vector, meet = effect.vector, self._rendezvous.arrive
            meeting = meet(group, learner.rank, "allreduce", vector, wake, others)
            if meeting is not None:
                mean = partial(mean_of, learner.weights, meeting.brought)
                end = self._collective(group, meeting, mean)
                self._collectives.allreduce(group.ranks, vector.nbytes, end)
            return
        name, packet = self._broadcasts[effect.root], effect.packet
        meeting = self._rendezvous.arrive(group, learner.rank, name, packet, wake, others)
        if meeting is not None:
            sent: Packet = meeting.brought[group.ranks.index(effect.root)]
            end = self._collective(group, meeting, lambda: sent)
            self._collectives.broadcast(group.ranks, effect.root, sent.nbytes, end)

    def _collective(
        self, group: Group, meeting: Meeting, result: Callable[[], Any]
    ) -> Callable[[], None]:
        """What is to happen when the collective of a meeting has ended."""
        self._under_way += 1
        if self._disturbed is not None:
            self._disturbed.begin(group.ranks)

        def end() -> None:
            self._under_way -= 1
            if self._disturbed is not None:
                self._disturbed.end(group.ranks)
            answer = result()
            for wake in meeting.wakes:
                wake(answer)

        return end

    def _collected(self, process: Process, kind: str, nbytes: int, answer: Any) -> None:
        self._span(process, kind, process.since_s, nbytes)
        process.resume(answer)

    def _after(self, delay_s: float, then: Callable[[simpy.Event], None]) -> None:
        self._env.timeout(delay_s).callbacks.append(then)

    def _span(
        self, process: Process, kind: str, start_s: float, nbytes: int, peer: int = -1
    ) -> None:
        process.pens[kind]((start_s, self._env.now, nbytes, peer, process.learner.draws))
