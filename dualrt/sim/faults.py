"""The simulator's driver where things go wrong: who is down, who notices, who comes back.

Owns crashes, returns, slow cards, and how long a wait for a lost learner lasts. What becomes of a
single message is `dualrt.sim.lossy`'s. A class of its own, so that a run without faults pays for
none of it. Must not know any algorithm.

A crash takes the learner's strands, its computations and all that is on the way to it or from it;
the seconds of its device and the bytes on the wire are spent all the same. Others notice
`detect_s` later, or as it returns if that is sooner. From then until its return, sends to it vanish
and waits for it end at once. No fault begins once the last learner has ended.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import simpy

from dualrt.core.effects import (
    AllReduce,
    Broadcast,
    Delivery,
    Effect,
    Group,
    Leave,
    Recv,
    Send,
    Together,
)
from dualrt.core.errors import Loss, PeerLostError, UsageError
from dualrt.core.faults import (
    Crash,
    Detection,
    Fault,
    GivenUp,
    Partition,
    SlowCard,
    SlowPair,
    Toll,
    Weather,
)
from dualrt.core.learner import Learner
from dualrt.core.records import Lane, Observer
from dualrt.sim.driver import Machine, Simulator
from dualrt.sim.lossy import LossyTransport
from dualrt.sim.process import PENDING, Answer, Process

Restart = Callable[[int, int], Learner]
"""Makes learner `rank` anew, as its incarnation number so much."""


class Adversity(NamedTuple):
    """What goes wrong, how soon it is noticed, and who makes a learner that comes back."""

    faults: Sequence[Fault]
    detection: Detection
    restart: Restart


def check_faults(faults: Sequence[Fault], learners: int, servers: int) -> None:
    """Raise UsageError for a fault of a learner or a server that is not there.

    And for a partition that parts nobody.
    """
    for fault in faults:
        befallen, what, there_are = _befallen(fault, learners, servers)
        if not all(0 <= number < there_are for number in befallen):
            raise UsageError(f"{fault}: there are {there_are} {what}. Count them from 0")
        if isinstance(fault, Partition) and not 0 < len(fault.side) < learners:
            raise UsageError(
                f"{fault}: that parts nobody of {learners} learners. Name some of them, not all"
            )


def _befallen(fault: Fault, learners: int, servers: int) -> tuple[Iterable[int], str, int]:
    """Whom it names, what these are, and how many of them there are."""
    match fault:
        case Crash(learner=learner):
            return (learner,), "learners", learners
        case SlowCard(server=server):
            return (server,), "servers", servers
        case Partition(side=side):
            return side, "learners", learners
        case SlowPair(pair=pair):
            return pair, "learners", learners
        case Weather(pair=some):
            return some or (), "learners", learners
    raise UsageError(f"{fault!r} is no fault. Take one of dualrt.faults")


class _Wait(NamedTuple):
    """One process that waits for certain learners."""

    peers: tuple[int, ...]
    kind: str
    began_s: float
    forget: Callable[[], None]
    group: Group | None = None
    """Of a collective."""


class FaultySimulator(Simulator):
    """Runs learners on a simulated machine, and some of them into trouble.

    Parameters as for `Simulator`, and the `adversity`. After the run, `down` are the ranks that had
    crashed and not come back, and `toll` says what happened.
    """

    def __init__(
        self,
        learners: Sequence[Learner],
        machine: Machine,
        observer: Observer,
        adversity: Adversity,
        *,
        together: bool = False,
    ) -> None:
        super().__init__(learners, machine, observer, together=together)
        self._learners: list[Learner] = list(learners)
        self.down: dict[int, float] = {}
        """Since when, by rank."""
        faults, self._detection, self._restart = adversity
        self._faults = list(faults)
        self._lossy = self._transport = LossyTransport(
            self._env, self._network, self.cluster, faults, machine.seed, self._disturbed
        )
        self._answers[Leave] = self._leave
        for kind, answer in self._answers.items():
            # The parts of a strand crash with it, once it has them.
            if kind is not Together:
                self._answers[kind] = partial(self._unless_it_crashes, answer)
        self._waits: dict[Process, _Wait] = {}
        self._left: dict[tuple[int, Group], int] = {}
        """Who has done with which groups, and after whom."""
        self._doomed: dict[int, list[Crash]] = {}
        self._incarnations = [0] * len(learners)
        self._anyone_ended = False
        self._crashed: list[tuple[int, float]] = []
        self._rejoined: list[tuple[int, float]] = []
        self._given_up: list[GivenUp] = []

    @property
    def present(self) -> Mapping[int, Learner]:
        """The learners that are up, by rank, each in its last incarnation."""
        return {rank: one for rank, one in enumerate(self._learners) if rank not in self.down}

    @property
    def toll(self) -> Toll:
        """What faults have done so far."""
        lossy = self._lossy
        return Toll(
            tuple(self._crashed),
            tuple(self._rejoined),
            lossy.lost,
            lossy.duplicated,
            lossy.delayed,
            lossy.reordered,
            tuple(self._given_up),
            tuple(sorted(lossy.tags)),
        )

    def run(self) -> float:
        """As `Simulator.run`; what is awaited of a lost learner raises PeerLostError there."""
        elapsed_s = super().run()
        for rank, since_s in self.down.items():
            self._was_down(self._learners[rank], since_s, elapsed_s)
        self.journal.flush()
        return elapsed_s

    def _start(self) -> None:
        for learner in self._learners:
            self._tell_of_losses(learner)
        for fault in self._faults:
            match fault:
                case Crash(at_s=float(at_s)):
                    self._after(at_s, partial(self._crash, fault))
                case Crash():
                    self._doomed.setdefault(fault.learner, []).append(fault)
                case Partition(start_s=start_s, end_s=end_s):
                    noticed_s = start_s + self._detection.detect_s
                    if noticed_s < end_s:
                        self._after(noticed_s, partial(self._notice_partition, fault))
                case SlowCard(start_s=start_s, end_s=end_s):
                    for boundary_s in (start_s, end_s):
                        if boundary_s < math.inf:
                            self._after(boundary_s, partial(self._throttle, fault.server))
        for crashes in self._doomed.values():
            crashes.sort(key=lambda crash: crash.at_step or 0)
        super()._start()

    def _unless_it_crashes(self, answer: Answer, process: Process, effect: Effect[Any]) -> Any:
        """Answers to effects raise PeerLostError for a named peer that is known to be lost."""
        learner = process.learner
        crashes = self._doomed.get(learner.rank)
        if crashes and learner.draws > (crashes[0].at_step or 0) and not self.is_over:
            self._crash(crashes.pop(0))
            return PENDING
        return answer(process, effect)

    def _send(self, process: Process, effect: Send) -> None:
        if self._lost(process.rank, effect.peer):
            self._lossy.lost += 1
        else:
            super()._send(process, effect)

    def _recv(self, process: Process, effect: Recv) -> Any:
        rank, tag, peer = process.rank, effect.tag, effect.peer
        if peer is None or peer == rank:
            return super()._recv(process, effect)
        now_s = process.since_s = self._env.now
        wake = partial(self._received, process)
        delivery = self._lossy.receive(rank, tag, peer, wake)
        if delivery is not None:
            self._take(process, delivery)
            return delivery
        forget = partial(self._lossy.forget, rank, tag, wake)
        if self._lost(rank, peer):
            forget()
            raise self._loss(rank, peer, Loss.KNOWN)
        wait = self._waits[process] = _Wait((peer,), "recv " + tag, now_s, forget)
        self._after(self._detection.timeout_s, partial(self._notice_silence, process, wait))
        return PENDING

    def _received(self, process: Process, delivery: Delivery) -> None:
        self._waits.pop(process, None)
        super()._received(process, delivery)

    def _allreduce(self, process: Process, effect: AllReduce) -> Any:
        self._enter(process, effect.group, "allreduce")
        return super()._allreduce(process, effect)

    def _broadcast(self, process: Process, effect: Broadcast) -> Any:
        self._enter(process, effect.group, "broadcast")
        return super()._broadcast(process, effect)

    def _enter(self, process: Process, group: Group, kind: str) -> None:
        rank = process.learner.rank
        others = tuple(member for member in group.ranks if member != rank)
        for member in others:
            if self._lost(rank, member):
                raise self._loss(rank, member, Loss.KNOWN)
        after = self._left.get((rank, group))
        if after is not None:
            raise _left_behind(after, group, Loss.KNOWN)
        self._waits[process] = _Wait(others, kind, self._env.now, lambda: None, group)

    def _leave(self, process: Process, effect: Leave) -> None:
        rank, group, peer = process.learner.rank, effect.group, effect.peer
        self._left[rank, group] = peer
        for one, wait in list(self._waits.items()):
            if one.learner.rank == rank and wait.group == group and one in self._waits:
                self._end_wait(one, wait, peer)
                self._given_up.append(GivenUp(rank, peer, wait.began_s, self._env.now, False))
                one.raise_at_await(_left_behind(peer, group, Loss.NOTICED))

    def _join(
        self,
        process: Process,
        effect: AllReduce | Broadcast,
        wake: Callable[[Any], None],
        others: Sequence[int] = (),
    ) -> None:
        def awake(answer: Any) -> None:
            # One that was given up may be over late, when its learner waits for another.
            if process.effect is effect:
                wake(answer)

        super()._join(process, effect, awake, others)

    def _collected(self, process: Process, kind: str, nbytes: int, answer: Any) -> None:
        wait = self._waits.get(process)
        if wait is None:
            # It is dead, or has given up.
            return
        rank, now_s = process.learner.rank, self._env.now
        whole_s = max((self._lossy.apart_until_s(rank, peer) for peer in wait.peers), default=0.0)
        if whole_s > now_s:
            again = partial(self._collected_again, wait, process, kind, nbytes, answer)
            if whole_s < math.inf:
                self._after(whole_s - now_s, again)
            return
        del self._waits[process]
        super()._collected(process, kind, nbytes, answer)

    def _collected_again(self, wait: _Wait, process: Process, *collected: Any) -> None:
        *arguments, _ = collected
        # It may have given up meanwhile, and wait for another.
        if self._waits.get(process) is wait:
            self._collected(process, *arguments)

    def _computed(self, process: Process) -> None:
        if process.learner is not self._learners[process.learner.rank] or self._is_down(process):
            self._under_way -= 1
        else:
            super()._computed(process)

    def _main_over(self, process: Process, result: Any) -> None:
        self._anyone_ended = True
        super()._main_over(process, result)

    def _end(self) -> None:
        super()._end()
        # What has not begun by now befalls nobody; a crash asks by itself.
        self._faults = [
            fault
            for fault in self._faults
            if isinstance(fault, Crash) or fault.start_s < self.elapsed_s
        ]
        self._lossy.begin_no_more(self.elapsed_s)

    def _is_down(self, process: Process) -> bool:
        return process.learner.rank in self.down

    def _crash(self, crash: Crash, _: simpy.Event | None = None) -> None:
        rank, now_s = crash.learner, self._env.now
        if rank in self.down or self.is_over:
            return
        self.down[rank] = now_s
        self._crashed.append((rank, now_s))
        for registry in (self._mains, self._daemons):
            for process in [one for one in registry if one.learner.rank == rank]:
                del registry[process]
                for part in process.waiting():
                    self._waits.pop(part, None)
                process.kill()
        self._lossy.take_down(rank)
        if not self._mains:
            # Where nobody has ended, those that have crashed may come back.
            self._env.halt()
            self.elapsed_s = now_s
            if self._anyone_ended:
                self._end()
        self._after(self._detection.detect_s, partial(self._notice_crash, rank, now_s))
        if crash.rejoin_after_s is not None:
            # Counts as under way: where all have crashed, the run waits for the first to return.
            self._under_way += 1
            self._after(crash.rejoin_after_s, partial(self._rejoin, rank))

    def _rejoin(self, rank: int, _: simpy.Event) -> None:
        self._under_way -= 1
        if self.is_over:
            return
        self._was_down(self._learners[rank], self.down.pop(rank), self._env.now)
        self._rejoined.append((rank, self._env.now))
        self._incarnations[rank] += 1
        learner = self._learners[rank] = self._restart(rank, self._incarnations[rank])
        self._tell_of_losses(learner)
        self._device_free_s[rank] = self._env.now
        if self._disturbed is not None:
            self._disturbed.abandon(rank)
        self._lossy.bring_up(rank)
        # What its dead self was asked for is lost, and now that is known.
        self._end_waits(lambda _, peer: peer == rank)
        process = Process(self, learner, "rejoin", learner.rejoin(), self._rejoin_over)
        self._mains[process] = None
        process.start()

    def _rejoin_over(self, process: Process, _: Any) -> None:
        del self._mains[process]
        # There may be none left to wait for.
        self._env.halt()
        for strand in self._enlist(process.learner):
            strand.start()

    def _was_down(self, learner: Learner, start_s: float, end_s: float) -> None:
        write = self.journal.pen(Lane(learner.rank, "faults", "down"))
        write((start_s, end_s, 0, -1, learner.draws))

    def _throttle(self, server: int, _: simpy.Event) -> None:
        now_s = self._env.now
        factor = math.prod(
            fault.factor
            for fault in self._faults
            if isinstance(fault, SlowCard)
            and fault.server == server
            and fault.start_s <= now_s < fault.end_s
        )
        for direction in ("out", "in"):
            self._network.throttle(self.cluster.links[f"server{server}.nic.{direction}"], factor)

    def _tell_of_losses(self, learner: Learner) -> None:
        rank, ranks = learner.rank, range(len(self._learners))
        may_part = any(isinstance(fault, Partition) for fault in self._faults)

        def lost() -> frozenset[int]:
            if not self.down and not may_part:
                return frozenset()
            return frozenset(peer for peer in ranks if peer != rank and self._lost(rank, peer))

        learner.lost = lost

    def _lost(self, rank: int, peer: int) -> bool:
        """Whether `rank` knows that `peer` is lost."""
        now_s, detect_s = self._env.now, self._detection.detect_s
        since_s = self.down.get(peer)
        if since_s is not None and now_s >= since_s + detect_s:
            return True
        return any(
            isinstance(fault, Partition)
            and fault.start_s + detect_s <= now_s < fault.end_s
            and fault.parts(rank, peer)
            for fault in self._faults
        )

    def _notice_crash(self, rank: int, since_s: float, _: simpy.Event) -> None:
        if self.down.get(rank) == since_s:
            self._end_waits(lambda _, peer: peer == rank)

    def _notice_partition(self, partition: Partition, _: simpy.Event) -> None:
        if partition in self._faults:
            self._end_waits(partition.parts)

    def _notice_silence(self, process: Process, wait: _Wait, _: simpy.Event) -> None:
        if self._waits.get(process) is wait:
            self._give_up(process, wait, wait.peers[0], Loss.SILENT)

    def _end_waits(self, over: Callable[[int, int], bool]) -> None:
        """End every wait of a learner for a peer for which `over(learner, peer)` holds."""
        for process, wait in list(self._waits.items()):
            gone = [peer for peer in wait.peers if over(process.learner.rank, peer)]
            # An earlier one may have ended this one's learner, or the wait.
            if gone and self._waits.get(process) is wait:
                self._give_up(process, wait, gone[0], Loss.NOTICED)

    def _give_up(self, process: Process, wait: _Wait, peer: int, loss: Loss) -> None:
        rank, now_s = process.learner.rank, self._env.now
        self._end_wait(process, wait, peer)
        silent = peer not in self.down and self._lossy.apart_until_s(rank, peer) <= now_s
        self._given_up.append(GivenUp(rank, peer, wait.began_s, now_s, silent))
        process.raise_at_await(self._loss(rank, peer, loss))

    def _end_wait(self, process: Process, wait: _Wait, peer: int) -> None:
        del self._waits[process]
        wait.forget()
        self._span(process, wait.kind, wait.began_s, 0, peer)

    def _loss(self, rank: int, peer: int, loss: Loss) -> PeerLostError:
        since_s = self.down.get(peer)
        if since_s is not None:
            why = f"it crashed at {since_s:.6g} s"
        elif self._lossy.apart_until_s(rank, peer) > self._env.now:
            why = f"a partition keeps it apart from learner {rank}"
        elif (peer, self._env.now) in self._rejoined:
            why = "it crashed, and has just been started again"
        else:
            why = f"it was silent for {self._detection.timeout_s:g} s"
        return PeerLostError(peer, f"{why}; noticed at {self._env.now:.6g} s", loss)


def _left_behind(peer: int, group: Group, loss: Loss) -> PeerLostError:
    return PeerLostError(peer, f"it has done with group {group.name!r}", loss)
