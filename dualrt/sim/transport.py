"""Transport: ordered connections between learners, over the flow network, and their mail.

Owns what a socket adds to a flow (messages of one connection leave one after another, each with
the route's latency, which TCP would overlap with the message before; `tcp` has its slow start) and
who waits for which message. Must not know what a message is for.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from dualrt.core.effects import Delivery, Packet
from dualrt.sim.cluster import Cluster
from dualrt.sim.interference import Disturbed
from dualrt.sim.network import Network
from dualrt.sim.tcp import SlowStart

HEADER_BYTES = 64
"""What a message weighs beside its body and its version vector (8 bytes an entry)."""


class _Message(NamedTuple):
    tag: str
    packet: Packet


class Transport:
    """All connections and mailboxes of a simulated run.

    `disturbed`, if it is there, is told when a message is under way.
    """

    def __init__(
        self, network: Network, cluster: Cluster, disturbed: Disturbed | None = None
    ) -> None:
        self._network, self._cluster = network, cluster
        self._cap = cluster.spec.socket_bytes_per_s
        self._overhead_s = cluster.spec.message_overhead_s
        self._disturbed = disturbed
        self._slow_start = SlowStart(cluster) if cluster.spec.tcp_initial_window_bytes else None
        self._connections: dict[tuple[int, int], deque[_Message]] = defaultdict(deque)
        self._mail: dict[tuple[int, str], deque[Delivery]] = defaultdict(deque)
        self._waiting: dict[tuple[int, str], list[tuple[int | None, Callable[[Delivery], None]]]]
        self._waiting = defaultdict(list)
        self.in_flight = 0

    def send(self, sender: int, receiver: int, tag: str, packet: Packet) -> None:
        """Queue a message on the connection; delivered in order."""
        self.in_flight += 1
        queue = self._connections[sender, receiver]
        queue.append(_Message(tag, packet))
        if len(queue) == 1:
            self._start(sender, receiver, queue)

    def _start(self, sender: int, receiver: int, queue: deque[_Message]) -> None:
        self._carry(sender, receiver, queue, self._cap)

    def _carry(
        self, sender: int, receiver: int, queue: deque[_Message], cap_bytes_per_s: float
    ) -> None:
        """Let the first message cross its links, no faster than that."""
        packet = queue[0].packet
        size_bytes = packet.nbytes + HEADER_BYTES + 8 * len(packet.versions)
        arrive = partial(self._arrive, sender, receiver, queue)
        # What is sent to oneself needs no socket.
        overhead_s = self._overhead_s if sender != receiver else 0.0
        if self._slow_start is not None:
            now_s = self._network.now_s
            overhead_s += self._slow_start.begin(sender, receiver, size_bytes, now_s)
            arrive = partial(self._sent, sender, receiver, arrive)
        if self._disturbed is not None and sender != receiver:
            ends = (sender, receiver)
            self._disturbed.begin(ends)
            arrive = partial(self._off_the_wire, ends, arrive)
        self._network.transfer(
            self._cluster.message_route(sender, receiver),
            size_bytes,
            arrive,
            cap_bytes_per_s=cap_bytes_per_s,
            overhead_s=overhead_s,
        )

    def _sent(self, sender: int, receiver: int, arrive: Callable[[], None]) -> None:
        assert self._slow_start is not None
        self._slow_start.end(sender, receiver, self._network.now_s)
        arrive()

    def _off_the_wire(self, ends: tuple[int, int], arrive: Callable[[], None]) -> None:
        assert self._disturbed is not None
        self._disturbed.end(ends)
        arrive()

    def _arrive(self, sender: int, receiver: int, queue: deque[_Message]) -> None:
        message = queue.popleft()
        if queue:
            self._start(sender, receiver, queue)
        self.in_flight -= 1
        self._deliver(sender, receiver, message)

    def _deliver(self, sender: int, receiver: int, message: _Message) -> None:
        delivery, box = Delivery(sender, message.packet), (receiver, message.tag)
        waiting = self._waiting.get(box)
        if waiting:
            for place, (peer, wake) in enumerate(waiting):
                if peer is None or peer == sender:
                    del waiting[place]
                    wake(delivery)
                    return
        self._mail[box].append(delivery)

    def receive(
        self, receiver: int, tag: str, peer: int | None, wake: Callable[[Delivery], None]
    ) -> Delivery | None:
        """The oldest fitting message if there is one; else None, and `wake` is called with it."""
        box = (receiver, tag)
        mail = self._mail.get(box)
        if mail:
            for place, delivery in enumerate(mail):
                if peer is None or peer == delivery.sender:
                    del mail[place]
                    return delivery
        self._waiting[box].append((peer, wake))
        return None
