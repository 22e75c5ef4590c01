"""The simulator's driver: answers effects in virtual time.

Owns the answer to each effect, and the count of what is under way. Must not know any algorithm,
and no physics: seconds come from the device model, the network and the collectives.

What is answered at once (buffered sends, waiting mail, the time, reports) never enters the event
queue; everything else is one event or one flow.

The run is over when every strand that is no daemon has returned. Then what is still under way (an
answer being blended, a message on the wire) is brought to its end, so that nothing is lost from
the sum over learners.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import simpy
from simpy.core import EmptySchedule

from dualrt.core.effects import (
    AllReduce,
    Body,
    Broadcast,
    Compute,
    Cost,
    Delivery,
    Effect,
    Group,
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
from dualrt.core.faults import Slowdown
from dualrt.core.learner import Learner
from dualrt.core.records import Observer, Span
from dualrt.core.seeds import stream
from dualrt.sim.cluster import Cluster, ClusterSpec
from dualrt.sim.collectives import Collectives, CollectiveSpec
from dualrt.sim.device import Device, DeviceSpec
from dualrt.sim.network import Network
from dualrt.sim.numerics import Numerics
from dualrt.sim.process import PENDING, Process
from dualrt.sim.rendezvous import Meeting, Rendezvous
from dualrt.sim.transport import Transport

SHOWN = 8
"""How many stuck strands an error lists."""


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
    updates. `together`: whether to take gradients together (`dualrt.sim.numerics`). Raises
    UsageError if the machine has too few devices.
    """

    def __init__(
        self,
        learners: Sequence[Learner],
        machine: Machine,
        observer: Observer,
        *,
        together: bool = False,
    ) -> None:
        self._learners = learners
        self._numerics = Numerics(together=together)
        self._observer = observer
        self._env = simpy.Environment()
        self._network = Network(self._env)
        self.cluster = Cluster(machine.cluster, self._network)
        for learner in learners:
            self.cluster.place(learner.rank)
        self._transport = Transport(self._network, self.cluster)
        self._collectives = Collectives(
            self.cluster, self._network, machine.collectives, learners[0].weights.tensors_bytes
        )
        self._rendezvous = Rendezvous()
        self._devices = [
            Device(
                machine.device,
                stream(machine.seed, "device", learner.rank),
                stream(machine.seed, "jitter", learner.rank),
                machine.slowdowns.get(learner.rank, ()),
            )
            for learner in learners
        ]
        self._device_free_s = [0.0] * len(learners)
        self._host_cap = machine.cluster.host_thread_bytes_per_s
        self._mains: dict[Process, None] = {}
        self._daemons: dict[Process, None] = {}
        self._under_way = 0
        self.elapsed_s = 0.0

    def run(self) -> float:
        """Run to the end; returns the virtual seconds until the last learner had ended.

        Raises StrandError when a learner raised, DeadlockError when learners wait for one another
        and nothing is under way. Ends at once after `stop`.
        """
        try:
            self._start()
            while self._mains or self._under_way or self._transport.in_flight:
                self._env.step()
        except EmptySchedule:
            raise self._deadlock() from None
        except _Stop:
            self.elapsed_s = self._env.now
        finally:
            for process in (*self._mains, *self._daemons):
                process.close()
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
            self._enlist(learner)
        for process in (*self._daemons, *self._mains):
            process.resume()

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

    def _main_over(self, process: Process, _: Any) -> None:
        del self._mains[process]
        self.elapsed_s = self._env.now

    def _daemon_over(self, process: Process, _: Any) -> None:
        del self._daemons[process]

    def _deadlock(self) -> DeadlockError:
        stuck = [f"\n  {process}" for process in self._mains]
        if len(stuck) > SHOWN:
            stuck[SHOWN:] = [f"\n  and {len(stuck) - SHOWN} more"]
        return DeadlockError(
            f"at {self._env.now:.6f} s every live strand waits and nothing is under way:"
            + "".join(stuck)
        )

    def answer(self, process: Process, effect: Effect[Any]) -> Any:
        """The answer to an effect, or PENDING when it will be pushed in later.

        Raises RunError for an effect that this driver does not know, UsageError for a peer that is
        not in the run.
        """
        rank, now = process.learner.rank, self._env.now
        match effect:
            case Compute():
                self._compute(process, effect)
            case Recv(tag=tag, peer=peer):
                wake = partial(self._received, process, tag, now)
                delivery = self._transport.receive(rank, tag, peer, wake)
                if delivery is not None:
                    self._span(process, "recv " + tag, now, delivery.packet.nbytes, delivery.sender)
                    return delivery
            case Send(peer=peer, tag=tag, packet=packet):
                if not 0 <= peer < len(self._learners):
                    raise UsageError(f"there is no learner {peer} to talk to")
                self._transport.send(rank, peer, tag, packet)
                self._span(process, "send " + tag, now, packet.nbytes, peer)
                return None
            case Report(update=update):
                self._observer.update(now, update)
                return None
            case Together(children=children):
                return self._together(process, children)
            case AllReduce(group=group, vector=vector):
                self._allreduce(process, group, vector)
            case Broadcast(group=group, root=root, packet=packet):
                self._broadcast(process, group, root, packet)
            case Sleep(duration_s=duration_s):
                self._after(duration_s, lambda _: process.resume())
            case Now():
                return now
            case _:
                raise RunError(f"the simulator does not know the effect {effect!r}")
        return PENDING

    def _compute(self, process: Process, effect: Compute[Any]) -> None:
        rank, now, cost = process.learner.rank, self._env.now, effect.cost
        work = self._numerics.begin(effect.work)
        self._under_way += 1
        if effect.on is Place.HOST:
            self._network.transfer(
                self.cluster.host_route(rank),
                cost.bytes_moved,
                partial(self._computed, process, cost, work, now),
                cap_bytes_per_s=self._host_cap,
            )
            return
        # One kernel sequence at a time: what is asked for meanwhile starts when the last ends.
        start_s = max(now, self._device_free_s[rank])
        end_s = start_s + self._devices[rank].duration_s(cost, start_s)
        self._device_free_s[rank] = end_s
        self._after(end_s - now, partial(self._computed, process, cost, work, start_s))

    def _computed(
        self,
        process: Process,
        cost: Cost,
        work: Callable[[], Any],
        start_s: float,
        _: simpy.Event | None = None,
    ) -> None:
        self._under_way -= 1
        self._span(process, cost.kind, start_s, cost.bytes_moved)
        try:
            result = work()
        except Exception as error:
            process.raise_at_await(error)
        else:
            process.resume(result)

    def _received(self, process: Process, tag: str, start_s: float, delivery: Delivery) -> None:
        self._span(process, "recv " + tag, start_s, delivery.packet.nbytes, delivery.sender)
        process.resume(delivery)

    def _together(self, parent: Process, bodies: Sequence[Body[Any]]) -> Any:
        results: list[Any] = [None] * len(bodies)
        registry = self._daemons if parent in self._daemons else self._mains
        remaining = len(bodies)
        pending = False

        def child_over(place: int, child: Process, result: Any) -> None:
            nonlocal remaining
            del registry[child]
            results[place] = result
            remaining -= 1
            if pending and not remaining:
                parent.resume(tuple(results))

        children = [
            Process(self, parent.learner, parent.name, body, partial(child_over, place))
            for place, body in enumerate(bodies)
        ]
        registry.update(dict.fromkeys(children))
        for child in children:
            child.resume()
        if not remaining:
            # Answered, not resumed: a strand may do this any number of times in one instant.
            return tuple(results)
        pending = True
        return PENDING

    def _allreduce(self, process: Process, group: Group, vector: Any) -> None:
        name = "allreduce"
        wake = partial(self._collected, process, name, self._env.now, vector.nbytes)
        meeting = self._rendezvous.arrive(group, process.learner.rank, name, vector, wake)
        if meeting is not None:
            duration_s = self._collectives.allreduce_s(group.ranks, vector.nbytes)
            mean = partial(process.learner.weights.mean, meeting.brought)
            self._collective(meeting, duration_s, mean)

    def _broadcast(self, process: Process, group: Group, root: int, packet: Packet | None) -> None:
        name = f"broadcast from {root}"
        nbytes = 0 if packet is None else packet.nbytes
        wake = partial(self._collected, process, "broadcast", self._env.now, nbytes)
        meeting = self._rendezvous.arrive(group, process.learner.rank, name, packet, wake)
        if meeting is not None:
            sent: Packet = meeting.brought[group.ranks.index(root)]
            duration_s = self._collectives.broadcast_s(group.ranks, sent.nbytes)
            self._collective(meeting, duration_s, lambda: sent)

    def _collective(self, meeting: Meeting, duration_s: float, result: Callable[[], Any]) -> None:
        self._under_way += 1

        def end(_: simpy.Event) -> None:
            self._under_way -= 1
            answer = result()
            for wake in meeting.wakes:
                wake(answer)

        self._after(duration_s, end)

    def _collected(
        self, process: Process, kind: str, start_s: float, nbytes: int, answer: Any
    ) -> None:
        self._span(process, kind, start_s, nbytes)
        process.resume(answer)

    def _after(self, delay_s: float, then: Callable[[simpy.Event], None]) -> None:
        self._env.timeout(delay_s).callbacks.append(then)

    def _span(
        self, process: Process, kind: str, start_s: float, nbytes: int, peer: int = -1
    ) -> None:
        learner = process.learner
        self._observer.span(
            Span(
                learner.rank,
                process.name,
                kind,
                start_s,
                self._env.now,
                nbytes,
                peer,
                learner.draws,
            )
        )
