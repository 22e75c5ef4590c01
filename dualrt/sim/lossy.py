"""A transport whose messages may be lost, repeated, late or out of order.

Owns what happens to one message, and the connections that a crash breaks. Must not know who waits
how long for what: that is the driver's.

A fate is decided where a message arrives: until then it has crossed its links like any other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice
from random import Random

import simpy

from dualrt.core.effects import Delivery
from dualrt.core.faults import Fault, Partition, SlowPair, Weather
from dualrt.core.seeds import stream
from dualrt.sim.cluster import Cluster
from dualrt.sim.interference import Disturbed
from dualrt.sim.network import Network
from dualrt.sim.processors import Processors
from dualrt.sim.transport import Connection, Message, Transport


class LossyTransport(Transport):
    """All connections and mailboxes of a simulated run in which things go wrong."""

    def __init__(
        self,
        env: simpy.Environment,
        network: Network,
        cluster: Cluster,
        faults: Sequence[Fault],
        seed: int,
        disturbed: Disturbed | Processors | None = None,
    ) -> None:
        super().__init__(network, cluster, disturbed)
        self._env, self._seed = env, seed
        self._partitions = [fault for fault in faults if isinstance(fault, Partition)]
        self._slow_pairs = [fault for fault in faults if isinstance(fault, SlowPair)]
        weathers = [fault for fault in faults if isinstance(fault, Weather)]
        self._weathers = list(enumerate(weathers))
        """With their numbers, which chances are drawn by."""
        self._chances: dict[tuple[int, int, int], Random] = {}
        self._held_until_s: dict[tuple[int, int], float] = {}
        self._down: dict[int, None] = {}
        self.lost = self.duplicated = self.delayed = self.reordered = 0
        self.tags: dict[str, None] = {}
        """Of the messages that have met the weather."""

    def apart_until_s(self, one: int, other: int) -> float:
        """When two learners can talk again, as far as is known now; -inf if they can."""
        now_s = self._env.now
        return max(
            (
                partition.end_s
                for partition in self._partitions
                if partition.start_s <= now_s < partition.end_s and partition.parts(one, other)
            ),
            default=-math.inf,
        )

    def begin_no_more(self, now_s: float) -> None:
        """What has begun before takes its course; the run is over."""
        self._partitions = [one for one in self._partitions if one.start_s < now_s]
        self._slow_pairs = [one for one in self._slow_pairs if one.start_s < now_s]
        self._weathers = [(n, one) for n, one in self._weathers if one.start_s < now_s]

    def take_down(self, learner: int) -> None:
        """All that is on the way to it or from it is lost, and so is its unread mail."""
        self._down[learner] = None
        self._break(learner)
        for boxes in (self._mail, self._waiting):
            for box in [box for box in boxes if box[0] == learner]:
                del boxes[box]

    def bring_up(self, learner: int) -> None:
        """It can be sent to again; what was sent to its dead self is lost."""
        del self._down[learner]
        self._break(learner)

    def forget(self, receiver: int, tag: str, wake: Callable[[Delivery], None]) -> None:
        """Nobody waits there any more."""
        waiting = self._waiting[receiver, tag]
        waiting[:] = [entry for entry in waiting if entry[1] is not wake]

    def _break(self, learner: int) -> None:
        pairs = [pair for pair in self._connections if learner in pair]
        broken = [self._connections.pop(pair) for pair in pairs]
        for pair, connection in zip(pairs, broken, strict=True):
            if self._slow_start is not None:
                self._slow_start.close(*pair)
            self._held_until_s.pop(pair, None)
            queue = connection.queue
            self.lost += len(queue)
            # The first still crosses its links, for nothing, if it has begun.
            self.in_flight -= len(queue) - self._lose_all_but_begun(connection)
        # None of the broken ones begins any more, so now others may.
        for connection in broken:
            if connection.rounds is not None:
                connection.rounds.go_on()

    def _lose_all_but_begun(self, connection: Connection) -> int:
        """Have nobody wait for what waits on a broken connection; returns how much has begun."""
        queue, rounds = connection.queue, connection.rounds
        begun = min(1, len(queue))
        if rounds is not None:
            begun -= rounds.withdraw(connection)
            for _, _, round_ in islice(queue, begun, None):
                if round_ is not None:
                    rounds.lose(round_)
        return begun

    def _start(self, connection: Connection) -> None:
        now_s, ends = self._env.now, {connection.sender, connection.receiver}
        factor = math.prod(
            slow.factor
            for slow in self._slow_pairs
            if slow.start_s <= now_s < slow.end_s and slow.pair == ends
        )
        if factor == 1:
            super()._start(connection)
        else:
            whole = min(self._cap, connection.way.capacity_bytes_per_s)
            self._carry(connection, factor * whole)

    def _arrive(self, connection: Connection) -> None:
        sender, receiver, queue = connection.sender, connection.receiver, connection.queue
        if self._connections.get((sender, receiver)) is not connection:
            self.in_flight -= 1
            self._over(queue[0], connection)
            return
        message = queue.popleft()
        self._follow(message, connection)
        self.in_flight -= 1
        if sender == receiver:
            self._deliver(sender, receiver, message)
        else:
            self._fare(message, connection)

    def _fare(self, message: Message, connection: Connection) -> None:
        """Meet the weather: none, one or two deliveries, now or later."""
        sender, receiver = pair = connection.sender, connection.receiver
        tag, now_s = message[0], self._env.now
        self.tags[tag] = None
        due_s, alone_s, repeats_s = max(now_s, self._held_until_s.get(pair, 0.0)), 0.0, []
        for number, weather in self._weathers:
            if not weather.meets(sender, receiver, tag, now_s):
                continue
            dropped, twice, late, overtaken = self._chance(number, sender, receiver, weather)
            if dropped:
                self.lost += 1
                return
            if twice:
                self.duplicated += 1
                repeats_s.append(weather.delay_s)
            if late:
                self.delayed += 1
                due_s += weather.delay_s
            if overtaken:
                self.reordered += 1
                alone_s += weather.delay_s
        if due_s > now_s:
            self._held_until_s[pair] = due_s
        for more_s in (0.0, *repeats_s):
            self.in_flight += 1
            land = partial(self._land, message, connection)
            after_s = due_s + alone_s + more_s - now_s
            if after_s > 0:
                self._env.timeout(after_s).callbacks.append(land)
            else:
                land()

    def _chance(
        self, number: int, sender: int, receiver: int, weather: Weather
    ) -> tuple[bool, bool, bool, bool]:
        """Whether this message is dropped, repeated, delayed, overtaken."""
        key = (number, sender, receiver)
        chance = self._chances.get(key)
        if chance is None:
            chance = self._chances[key] = stream(self._seed, "weather", *key)
        # Always four draws, so that one probability does not move what the others decide.
        return (
            chance.random() < weather.drop,
            chance.random() < weather.duplicate,
            chance.random() < weather.delay,
            chance.random() < weather.reorder,
        )

    def _land(self, message: Message, connection: Connection, _: simpy.Event | None = None) -> None:
        self.in_flight -= 1
        sender, receiver = connection.sender, connection.receiver
        broken = self._connections.get((sender, receiver)) is not connection
        apart = self.apart_until_s(sender, receiver) > self._env.now
        if broken or apart or receiver in self._down:
            self.lost += 1
        else:
            self._deliver(sender, receiver, message)
