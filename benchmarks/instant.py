"""A driver that answers at once: what the learners' own code costs, and nothing else.

Owns the answers, and the order in which strands go on. There is no time, no network, no device and
no record: a computation is done when it is asked for, a message is there when it is sent. So a run
under it takes what no simulator of the same learners can go below, however good it is.

It knows what timing-only AD-PSGD and H-ADPSGD ask for, and no more.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from dualrt.composition import Composition
from dualrt.core.effects import (
    AllReduce,
    Awaited,
    Broadcast,
    Compute,
    Delivery,
    Effect,
    Group,
    Recv,
    Report,
    Send,
    Together,
)
from dualrt.core.learner import Learner
from dualrt.scenario import Scenario
from dualrt.workloads.phantom import Phantom

Done = Callable[[Any], None]


def learners_of(scenario: Scenario) -> list[Learner]:
    """Those of a timing-only run; of each set in unison the first, which is simulated for all."""
    composition = Composition(
        scenario, scenario.simulation.epochs or 1.0, scenario.learners_per_server()
    )
    workload = Phantom.like(composition.workload())
    unison = composition.layout.unison
    spoken_for = {rank for ranks in unison for rank in ranks[1:]}
    ranks = [rank for rank in range(scenario.learners) if rank not in spoken_for]
    return [composition.learner(rank, workload) for rank in ranks]


class _Strand:
    """A body under way, and what is done with its result."""

    __slots__ = ("body", "done", "rank", "send")

    def __init__(self, rank: int, body: Any, done: Done) -> None:
        self.rank, self.body, self.send, self.done = rank, body, body.send, done


class Instant:
    """Runs learners to their end; `updates` counts what they reported."""

    def __init__(self, learners: Sequence[Learner]) -> None:
        self._learners = learners
        self._here = {learner.rank for learner in learners}
        self._ready: deque[tuple[Callable[[Any], None], Callable[[], Any]]] = deque()
        """What goes on, and what it is told."""
        self._mail: defaultdict[tuple[int, str], deque[Delivery]] = defaultdict(deque)
        self._waiting: defaultdict[tuple[int, str], list[tuple[int | None, _Strand]]]
        self._waiting = defaultdict(list)
        self._arrived: dict[int, list[tuple[_Strand, AllReduce | Broadcast]]] = {}
        self._members: dict[int, int] = {}
        self._left = 0
        self.updates = 0

    def run(self) -> None:
        """Until every strand that is no daemon has returned."""
        daemons = []
        for learner in self._learners:
            for strand in learner.strands():
                body = strand.body()
                if strand.daemon:
                    daemons.append(_Strand(learner.rank, body, _ignore))
                    self._go_on(daemons[-1], None)
                else:
                    self._left += 1
                    self._go_on(_Strand(learner.rank, body, self._one_over), None)
        while self._left:
            go_on, answer = self._ready.popleft()
            go_on(answer())
        for daemon in daemons:
            daemon.body.close()

    def _one_over(self, _: Any) -> None:
        self._left -= 1

    def _go_on(self, strand: _Strand, answer: Any) -> None:
        send = strand.send
        try:
            while True:
                effect = send(answer)
                kind, answer = type(effect), None
                if kind is Compute:
                    self._ready.append((partial(self._go_on, strand), effect.work))
                    return
                if kind is Send:
                    self._send(strand.rank, effect)
                elif kind is Recv:
                    answer = self._recv(strand, effect)
                    if answer is None:
                        return
                elif kind is Report:
                    self.updates += 1
                elif kind is Together:
                    self._together(strand, effect.children)
                    return
                else:
                    self._meet(strand, effect)
                    return
        except StopIteration as returned:
            strand.done(returned.value)

    def _send(self, sender: int, effect: Send) -> None:
        box, delivery = (effect.peer, effect.tag), Delivery(sender, effect.packet)
        waiting = self._waiting[box]
        for place, (peer, strand) in enumerate(waiting):
            if peer is None or peer == sender:
                del waiting[place]
                self._ready.append((partial(self._go_on, strand), lambda: delivery))
                return
        self._mail[box].append(delivery)

    def _recv(self, strand: _Strand, effect: Recv) -> Delivery | None:
        box = strand.rank, effect.tag
        mail = self._mail[box]
        for place, delivery in enumerate(mail):
            if effect.peer is None or effect.peer == delivery.sender:
                del mail[place]
                return delivery
        self._waiting[box].append((effect.peer, strand))
        return None

    def _together(self, strand: _Strand, children: Sequence[Awaited[Any]]) -> None:
        results: list[Any] = [None] * len(children)
        left = len(children) + 1

        def over(place: int, result: Any) -> None:
            nonlocal left
            results[place] = result
            one_less()

        def one_less() -> None:
            nonlocal left
            left -= 1
            if not left:
                self._ready.append((partial(self._go_on, strand), lambda: tuple(results)))

        for place, child in enumerate(children):
            done = partial(over, place)
            if isinstance(child, Compute):
                self._ready.append((done, child.work))
            elif isinstance(child, Effect):
                # An exchange with nobody.
                assert isinstance(child, Together)
                assert not child.children
                done(())
            else:
                self._go_on(_Strand(strand.rank, child, done), None)
        one_less()

    def _meet(self, strand: _Strand, effect: AllReduce | Broadcast) -> None:
        group: Group = effect.group
        key = id(group)
        arrived = self._arrived.setdefault(key, [])
        arrived.append((strand, effect))
        if key not in self._members:
            self._members[key] = len(self._here.intersection(group.ranks))
        if len(arrived) < self._members[key]:
            return
        del self._arrived[key]
        if isinstance(effect, Broadcast):
            packets = [one.packet for _, one in arrived if isinstance(one, Broadcast)]
            answer: Any = next(packet for packet in packets if packet is not None)
        else:
            answer = effect.vector
        for member, _ in arrived:
            self._ready.append((partial(self._go_on, member), lambda: answer))


def _ignore(_: Any) -> None:
    """Nobody waits for a daemon."""
