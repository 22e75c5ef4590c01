"""Transport: ordered connections between learners, over the flow network, and their mail.

Owns what a socket adds to a flow (messages of one connection leave one after another, each with
the route's latency, which TCP would overlap with the message before; `tcp` has its slow start, and
`rounds` the order over all connections of a sender) and who waits for which message. Must not know
what a message is for.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable
from functools import partial
from typing import TypeAlias

from dualrt.core.effects import Delivery, Packet
from dualrt.sim.cluster import Cluster
from dualrt.sim.interference import Disturbed
from dualrt.sim.network import Network, Way
from dualrt.sim.processors import Processors
from dualrt.sim.rounds import Rounds
from dualrt.sim.tcp import SlowStart

HEADER_BYTES = 64
"""What a message weighs beside its body and its version vector (8 bytes an entry)."""


Message: TypeAlias = tuple[str, Packet, int | None]
"""Tag, packet, and its round if it has one."""


class Connection:
    """From one learner to another: the `way`, and what waits to be carried, the first under way.

    `arrive` is called when the first message has crossed its links; `overhead_s` passes before.
    With `rounds`, which its sender has one of, the first may have to wait for others' arrival.
    """

    __slots__ = ("arrive", "overhead_s", "queue", "receiver", "rounds", "sender", "way")

    arrive: Callable[[], None]

    def __init__(self, sender: int, receiver: int, way: Way, overhead_s: float) -> None:
        self.sender, self.receiver = sender, receiver
        self.way, self.overhead_s = way, overhead_s
        self.queue: deque[Message] = deque()
        self.rounds: Rounds[Connection] | None = None


class Transport:
    """All connections and mailboxes of a simulated run.

    `disturbed`, if it is there, is told when a message is under way.
    """

    def __init__(
        self,
        network: Network,
        cluster: Cluster,
        disturbed: Disturbed | Processors | None = None,
    ) -> None:
        self._network, self._cluster = network, cluster
        self._cap = cluster.spec.socket_bytes_per_s
        self._overhead_s = cluster.spec.message_overhead_s
        self._disturbed = disturbed
        self._processors = disturbed if isinstance(disturbed, Processors) else None
        self._work_s = cluster.spec.message_work_s if self._processors is not None else 0.0
        self._slow_start = SlowStart(cluster) if cluster.spec.tcp_initial_window_bytes else None
        self._connections: dict[tuple[int, int], Connection] = {}
        self._rounds: dict[int, Rounds[Connection]] = {}
        """By sender."""
        self._mail: dict[tuple[int, str], deque[Delivery]] = defaultdict(deque)
        self._waiting: dict[tuple[int, str], list[tuple[int | None, Callable[[Delivery], None]]]]
        self._waiting = defaultdict(list)
        self.in_flight = 0

    def send(
        self, sender: int, receiver: int, tag: str, packet: Packet, round_: int | None = None
    ) -> None:
        """Queue a message on the connection; delivered in order.

        One with a round, to another server, leaves when the sender's earlier rounds have arrived.
        """
        self.in_flight += 1
        pair = sender, receiver
        connection = self._connections.get(pair) or self._connect(*pair)
        queue = connection.queue
        queue.append((tag, packet, round_))
        if round_ is not None and connection.rounds is not None:
            connection.rounds.add(round_)
        if len(queue) == 1:
            self._next(connection)

    def _connect(self, sender: int, receiver: int) -> Connection:
        way = self._network.way(self._cluster.message_route(sender, receiver))
        # What is sent to oneself needs no socket.
        overhead_s = self._overhead_s if sender != receiver else 0.0
        connection = Connection(sender, receiver, way, overhead_s)
        connection.arrive = partial(self._arrive, connection)
        self._connections[sender, receiver] = connection
        place = self._cluster.place
        if place(sender).server != place(receiver).server:
            rounds = self._rounds.get(sender)
            if rounds is None:
                rounds = self._rounds[sender] = Rounds(self._start)
            connection.rounds = rounds
        return connection

    def _next(self, connection: Connection) -> None:
        """Let the first message go, when its turn has come."""
        round_ = connection.queue[0][2]
        if round_ is None or connection.rounds is None:
            self._start(connection)
        else:
            connection.rounds.come(round_, connection)

    def _start(self, connection: Connection) -> None:
        self._carry(connection, self._cap)

    def _carry(self, connection: Connection, cap_bytes_per_s: float) -> None:
        """Let the first message cross its links, no faster than that."""
        packet = connection.queue[0][1]
        size_bytes = packet.nbytes + HEADER_BYTES + 8 * len(packet.versions)
        arrive, overhead_s = connection.arrive, connection.overhead_s
        if self._slow_start is not None:
            ends = connection.sender, connection.receiver
            overhead_s += self._slow_start.begin(*ends, size_bytes, self._network.now_s)
            arrive = partial(self._sent, ends, arrive)
        if self._work_s and connection.sender != connection.receiver:
            self._work(connection, size_bytes, arrive, cap_bytes_per_s, overhead_s)
            return
        if self._disturbed is not None and connection.sender != connection.receiver:
            ends = connection.sender, connection.receiver
            self._disturbed.begin(ends)
            arrive = partial(self._off_the_wire, ends, arrive)
        self._network.carry(connection.way, size_bytes, arrive, cap_bytes_per_s, overhead_s)

    def _work(
        self,
        connection: Connection,
        size_bytes: int,
        arrive: Callable[[], None],
        cap_bytes_per_s: float,
        overhead_s: float,
    ) -> None:
        """Have the sender's process pack the message, and the receiver's unpack it."""
        processors, work_s = self._processors, self._work_s
        assert processors is not None
        unpack = partial(processors.run, connection.receiver, work_s, arrive)
        carry = partial(
            self._network.carry, connection.way, size_bytes, unpack, cap_bytes_per_s, overhead_s
        )
        processors.run(connection.sender, work_s, carry)

    def _sent(self, ends: tuple[int, int], arrive: Callable[[], None]) -> None:
        assert self._slow_start is not None
        self._slow_start.end(*ends, self._network.now_s)
        arrive()

    def _off_the_wire(self, ends: tuple[int, int], arrive: Callable[[], None]) -> None:
        assert self._disturbed is not None
        self._disturbed.end(ends)
        arrive()

    def _arrive(self, connection: Connection) -> None:
        queue = connection.queue
        message = queue.popleft()
        self._follow(message, connection)
        self.in_flight -= 1
        self._deliver(connection.sender, connection.receiver, message)

    def _follow(self, message: Message, connection: Connection) -> None:
        """Let those go that come behind one that has arrived."""
        if connection.queue:
            self._next(connection)
        self._over(message, connection)

    def _over(self, message: Message, connection: Connection) -> None:
        round_ = message[2]
        if round_ is not None and connection.rounds is not None:
            connection.rounds.over(round_)

    def _deliver(self, sender: int, receiver: int, message: Message) -> None:
        tag, packet, _ = message
        # As a tuple is made: the class's own way takes twice as long, for each message.
        delivery, box = tuple.__new__(Delivery, (sender, packet)), (receiver, tag)
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
