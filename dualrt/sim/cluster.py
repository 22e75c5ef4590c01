"""The cluster: servers of GPUs behind one switch or two tiers, as links that flows can cross.

Owns the description of a cluster, where each learner sits, and which links lie between two
learners. Must not know what is sent, nor when.

One server with two sockets and two GPUs on each. Every named line is two links, one a direction,
shared by all that cross it:

    gpu0   gpu1   gpu2   gpu3     with NVLink, each GPU also has a line to its server's crossbar
      |      |      |      |
      +------+      +------+
      socket0        socket1
         |              |         pcie.up, pcie.down
         +--- server ---+         memory: what averaging on the host crosses
                |                 nic.out, nic.in
              switch

The switch is non-blocking: it adds latency and limits nothing. Where servers stand in racks, each
rack has such a switch, and from one to another the way leads over the spine:

    server0 ... server3      server4 ... server7
         |         |              |         |
         +- rack0 -+              +- rack1 -+
              |                        |           rack0.up, rack0.down, rack1.up, ...
              +--------- spine --------+

A rack's cable to the spine is two links, shared by all of its servers, and where it has less than
their cards have together the fabric is oversubscribed. The spine itself is non-blocking, which is
what many equal paths with traffic spread evenly over them come to (Al-Fares, Loukissas and Vahdat,
A scalable, commodity data center network architecture, SIGCOMM 2008); that a hash may put two flows
on one path is not modelled.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from dualrt.core.errors import UsageError
from dualrt.sim.flows import Link
from dualrt.sim.network import Network

if TYPE_CHECKING:
    import networkx


@dataclass(frozen=True, kw_only=True)
class ClusterSpec:
    """A cluster in numbers. Bandwidths are for one direction.

    A default is either neutral (a latency of 0, a cap of infinity) or has its source beside it.
    Raises `UsageError` for a count or bandwidth that is not positive and for a negative latency.
    """

    servers: int
    gpus_per_server: int
    nic_bytes_per_s: float
    """Of a server's network card: 12.5e9 for 100 Gb/s Ethernet."""
    host_memory_bytes_per_s: float
    """What all of a server's learners together can move in its memory while they average."""

    sockets_per_server: int = 2
    """arXiv 1907.05701: two sockets a server. GPUs are dealt to sockets in equal blocks."""
    pcie_bytes_per_s: float = 16e9
    """Of a socket, shared by its GPUs. arXiv 1907.05701: 16 GB/s a direction a socket, PCIe 3."""
    nvlink_bytes_per_s: float = 0.0
    """Of a GPU to the others of its server; 0 where there is none, and PCIe serves instead. The
    POWER9 servers of arXiv 2002.01119 have 50e9."""

    nic_latency_s: float = 0.5e-6
    """Of one card, met twice on the way from server to server. With `switch_latency_s` at 0 this
    makes the network latency of 1 us that arXiv 2112.01433 states."""
    switch_latency_s: float = 0.0
    pcie_latency_s: float = 0.0
    nvlink_latency_s: float = 0.0
    """From GPU to GPU."""

    servers_per_rack: int | None = None
    """Servers at one rack's switch, in their order; None where all are at one switch."""
    rack_bytes_per_s: float = math.inf
    """Of a rack to the spine, shared by its servers. Oversubscribed 3 to 1 is a third of what their
    cards have together; more than these have changes nothing."""
    spine_latency_s: float = 0.0
    """What the way over the spine adds from rack to rack, beside `switch_latency_s`."""

    message_overhead_s: float = 0.0
    """Software cost of one gossip message, before its first byte moves."""
    tcp_initial_window_bytes: float = 0.0
    """Of a connection between servers, from which slow start begins; 0: there is none. RFC 6928:
    ten segments, 14.6e3."""
    tcp_restart_s: float = 0.2
    """Idle time, beside a round trip, after which a connection begins anew (RFC 5681, sec. 4.1).
    Linux: at least 200 ms, TCP_RTO_MIN."""
    socket_bytes_per_s: float = math.inf
    """The most that one gossip connection moves. A ZeroMQ I/O thread manages about 1e9 (the ZeroMQ
    guide advises one thread for each gigabyte a second)."""
    io_thread_bytes_per_s: float = math.inf
    """The most that the gossip thread of one learner moves in each direction, over all of its
    connections together; every frame passes through it."""
    host_thread_bytes_per_s: float = math.inf
    """The most of `host_memory_bytes_per_s` that one averaging thread can draw."""
    processors_per_server: float = math.inf
    """How many learners of a server compute at full speed at a time, where they compute on its
    processors and not on devices of their own (`dualrt.sim.processors`)."""
    message_work_s: float = 0.0
    """Where processors are shared: what a gossip message takes of one at either end."""

    collective_launch_s: float = 8.4e-6
    """Of one collective call. NCCL's tuner: base latency of the Simple protocol."""
    collective_network_hop_s: float = 14e-6
    """Of one step of a collective from server to server, beside the latency of the links. NCCL's
    tuner: network latency of the Simple protocol."""
    collective_bytes_per_s: float = math.inf
    """The most that one server sends in a collective over the network, where the library and not
    the card is the limit: NCCL over TCP at 100 Gb/s reached 4e9 to 6e9 on 4 servers of 8 V100
    (github.com/NVIDIA/nccl, issue 450)."""

    def __post_init__(self) -> None:
        for field in fields(self):
            self._check(field.name, getattr(self, field.name))

    def _check(self, name: str, value: float | None) -> None:
        if name in _COUNTS:
            if isinstance(value, int) and value >= 1:
                return
            if name == "servers_per_rack" and value is None:
                return
            problem = "is not a whole number from 1"
        elif value is None:
            problem = "is no number"
        elif name == "processors_per_server":
            if value > 0:
                return
            problem = "is not a positive number"
        elif name.endswith("_bytes"):
            if 0 <= value < math.inf:
                return
            problem = "is not a number of bytes from 0"
        elif name.endswith("_bytes_per_s"):
            if value > 0 and (value < math.inf or name in _CAPS):
                return
            if name == "nvlink_bytes_per_s" and value == 0:
                return
            problem = "is not a positive number of bytes a second"
        else:
            if 0 <= value < math.inf:
                return
            problem = "is not a number of seconds from 0"
        raise UsageError(
            f"cluster: {name} = {value!r} {problem}. Correct it in the cluster's description"
        )

    @property
    def gpus(self) -> int:
        """GPUs in all, which is the most learners that there can be."""
        return self.servers * self.gpus_per_server

    @property
    def racks(self) -> int:
        """Racks in all; one where all servers are at one switch."""
        return 1 if self.servers_per_rack is None else -(-self.servers // self.servers_per_rack)


_COUNTS = {"servers", "gpus_per_server", "sockets_per_server", "servers_per_rack"}
_CAPS = {
    "socket_bytes_per_s",
    "host_thread_bytes_per_s",
    "collective_bytes_per_s",
    "io_thread_bytes_per_s",
    "rack_bytes_per_s",
}
"""Limits that there may be or not: infinity means that there is none."""


class Placement(NamedTuple):
    """Where a learner runs."""

    server: int
    gpu: int
    """Within the server."""


class _Stop(NamedTuple):
    """Where a learner runs, and the wires by which one leaves its server and gets there."""

    place: Placement
    up: Link
    out: Link
    in_: Link
    down: Link


class Cluster:
    """The links of a cluster, and the ways through them.

    Learners fill the servers in the order of their ranks, one learner a GPU. All links are in
    `links`, by name, in a fixed order.
    """

    def __init__(self, spec: ClusterSpec, network: Network) -> None:
        self.spec = spec
        self.links: dict[str, Link] = {}
        self._network = network
        self._ends: dict[str, tuple[str, str]] = {}
        self._stops: dict[int, _Stop] = {}
        self._routes: dict[tuple[int, int], tuple[Link, ...]] = {}
        self._host_routes: dict[int, tuple[Link, ...]] = {}
        self._message_routes: dict[tuple[int, int], tuple[Link, ...]] = {}
        for number in range(spec.servers):
            self._cable(f"server{number}", self._switch_of(number))
        if spec.racks > 1:
            for number in range(spec.racks):
                self._cable_rack(f"rack{number}")

    def _cable_rack(self, rack: str) -> None:
        """Lay the links of one rack to the spine: no wider than what its servers can use."""
        spec = self.spec
        assert spec.servers_per_rack is not None
        bandwidth = min(spec.rack_bytes_per_s, spec.servers_per_rack * spec.nic_bytes_per_s)
        self._lay(f"{rack}.up", rack, "spine", bandwidth, 0.0)
        self._lay(f"{rack}.down", "spine", rack, bandwidth, spec.spine_latency_s)

    def _cable(self, server: str, switch: str) -> None:
        """Lay the links of one server, up to its switch."""
        spec = self.spec
        out_s, in_s = spec.nic_latency_s, spec.nic_latency_s + spec.switch_latency_s
        nic, memory = f"{server}.nic", f"{server}.memory"
        self._lay(f"{nic}.out", nic, switch, spec.nic_bytes_per_s, out_s)
        self._lay(f"{nic}.in", switch, nic, spec.nic_bytes_per_s, in_s)
        self._lay(memory, server, memory, spec.host_memory_bytes_per_s, 0.0)
        for number in range(spec.sockets_per_server):
            socket = f"{server}.socket{number}"
            bandwidth, latency_s = spec.pcie_bytes_per_s, spec.pcie_latency_s
            self._lay(f"{socket}.pcie.up", socket, server, bandwidth, latency_s)
            self._lay(f"{socket}.pcie.down", server, socket, bandwidth, latency_s)
        if spec.io_thread_bytes_per_s < math.inf:
            for number in range(spec.gpus_per_server):
                thread = f"{server}.gpu{number}.io"
                self._lay(f"{thread}.out", thread, server, spec.io_thread_bytes_per_s, 0.0)
                self._lay(f"{thread}.in", server, thread, spec.io_thread_bytes_per_s, 0.0)
        if not spec.nvlink_bytes_per_s:
            return
        for number in range(spec.gpus_per_server):
            gpu, crossbar = f"{server}.gpu{number}", f"{server}.nvlink"
            bandwidth, latency_s = spec.nvlink_bytes_per_s, spec.nvlink_latency_s
            self._lay(f"{gpu}.nvlink.out", gpu, crossbar, bandwidth, latency_s)
            self._lay(f"{gpu}.nvlink.in", crossbar, gpu, bandwidth, 0.0)

    def _lay(self, name: str, tail: str, head: str, bytes_per_s: float, latency_s: float) -> None:
        self.links[name] = Link(name, bytes_per_s, latency_s)
        self._ends[name] = (tail, head)

    def place(self, learner: int) -> Placement:
        """Where a learner runs. Raises `UsageError` if the cluster has no GPU left for it."""
        spec = self.spec
        if learner >= spec.gpus:
            raise UsageError(
                f"learner {learner} has no GPU: {learner + 1} learners need {learner + 1} GPUs, "
                f"and {spec.servers} servers of {spec.gpus_per_server} have {spec.gpus}. "
                f"Use fewer learners or more servers"
            )
        return Placement(*divmod(learner, spec.gpus_per_server))

    def socket_of(self, gpu: int) -> int:
        """The socket whose PCIe link a GPU of any server hangs on."""
        return gpu * self.spec.sockets_per_server // self.spec.gpus_per_server

    def rack_of(self, server: int) -> int:
        """The rack that a server stands in."""
        return 0 if self.spec.servers_per_rack is None else server // self.spec.servers_per_rack

    def _switch_of(self, server: int) -> str:
        return f"rack{self.rack_of(server)}" if self.spec.racks > 1 else "switch"

    def message_route(self, sender: int, receiver: int) -> tuple[Link, ...]:
        """The links that a gossip message crosses: its wires, and a thread at either end.

        The threads are links where `io_thread_bytes_per_s` limits them. Collectives, which have
        threads of their own, cross the wires alone: `route`.
        """
        known = self._message_routes.get((sender, receiver))
        if known is None:
            known = self.route(sender, receiver)
            if sender != receiver and self.spec.io_thread_bytes_per_s < math.inf:
                leaves, arrives = self._thread_of(sender), self._thread_of(receiver)
                known = self.links[f"{leaves}.out"], *known, self.links[f"{arrives}.in"]
            self._message_routes[sender, receiver] = known
        return known

    def _thread_of(self, learner: int) -> str:
        server, gpu = self.place(learner)
        return f"server{server}.gpu{gpu}.io"

    def route(self, sender: int, receiver: int) -> tuple[Link, ...]:
        """The wires from one learner's GPU to another's, in order.

        From server to server the way goes through both hosts: up PCIe, out of one card and into the
        other, down PCIe; from rack to rack, also up to the spine and down. In a server it takes
        NVLink, or PCIe where there is none. A learner needs no link to reach itself.
        """
        known = self._routes.get((sender, receiver))
        if known is None:
            known = self._routes[sender, receiver] = self._wires(sender, receiver)
        return known

    def _wires(self, sender: int, receiver: int) -> tuple[Link, ...]:
        if sender == receiver:
            return ()
        home, away = self._stop(sender), self._stop(receiver)
        server = home.place.server
        if server != away.place.server:
            return home.up, home.out, *self._spine(server, away.place.server), away.in_, away.down
        if self.spec.nvlink_bytes_per_s:
            source, target = (f"server{server}.gpu{stop.place.gpu}.nvlink" for stop in (home, away))
            return self.links[f"{source}.out"], self.links[f"{target}.in"]
        return home.up, away.down

    def _stop(self, learner: int) -> _Stop:
        stop = self._stops.get(learner)
        if stop is None:
            place, links = self.place(learner), self.links
            server = f"server{place.server}"
            socket, nic = f"{server}.socket{self.socket_of(place.gpu)}.pcie", f"{server}.nic"
            stop = self._stops[learner] = _Stop(
                place,
                links[f"{socket}.up"],
                links[f"{nic}.out"],
                links[f"{nic}.in"],
                links[f"{socket}.down"],
            )
        return stop

    def _spine(self, home: int, away: int) -> tuple[Link, ...]:
        """From a server's rack to that of another."""
        leaf, other = self.rack_of(home), self.rack_of(away)
        if leaf == other:
            return ()
        return self.links[f"rack{leaf}.up"], self.links[f"rack{other}.down"]

    def staged_route(self, sender: int, receiver: int) -> tuple[Link, ...]:
        """The wires from GPU to GPU for a library that passes everything through the hosts.

        It copies into the memory of the sender's server and out of that of the receiver's, which
        may be the same one, crossed twice; it does not use NVLink.
        """
        home, away = self._stop(sender), self._stop(receiver)
        server, other = home.place.server, away.place.server
        into, out_of = (self.links[f"server{number}.memory"] for number in (server, other))
        if server == other:
            return home.up, into, out_of, away.down
        return home.up, into, home.out, *self._spine(server, other), away.in_, out_of, away.down

    def host_route(self, learner: int) -> tuple[Link, ...]:
        """The link that averaging on the host crosses: the memory of the learner's server.

        One averaging thread draws at most `host_thread_bytes_per_s` of it.
        """
        known = self._host_routes.get(learner)
        if known is None:
            known = (self.links[f"server{self.place(learner).server}.memory"],)
            self._host_routes[learner] = known
        return known

    def busiest(self, elapsed_s: float) -> list[tuple[str, float]]:
        """All links by name, with their utilisation in `elapsed_s` from 0 to 1, busiest first."""
        used = [
            (name, self._network.utilisation(link, elapsed_s)) for name, link in self.links.items()
        ]
        return sorted(used, key=lambda entry: -entry[1])

    @cached_property
    def graph(self) -> networkx.DiGraph[str]:
        """The cluster as a graph, for drawings and checks.

        Nodes have a `kind`: switch (of all, of a rack, or the spine), server, nic, memory, socket,
        nvlink, gpu or io (a learner's gossip thread). Edges have a
        `capacity_bytes_per_s` and a `latency_s`, and the name of their `link`; an edge that limits
        nothing (between a GPU and its socket, a server and its card) has infinity, 0 and None.
        """
        import networkx  # here: a quarter of a second that a run need not spend

        spec = self.spec
        graph: networkx.DiGraph[str] = networkx.DiGraph()
        for switch in dict.fromkeys(map(self._switch_of, range(spec.servers))):
            graph.add_node(switch, kind="switch")
        if spec.racks > 1:
            graph.add_node("spine", kind="switch")
        for number in range(spec.servers):
            server = f"server{number}"
            graph.add_node(server, kind="server")
            graph.add_node(f"{server}.nic", kind="nic")
            graph.add_node(f"{server}.memory", kind="memory")
            near = [(server, f"{server}.nic")]
            for socket in range(spec.sockets_per_server):
                graph.add_node(f"{server}.socket{socket}", kind="socket")
            if spec.nvlink_bytes_per_s:
                graph.add_node(f"{server}.nvlink", kind="nvlink")
            for gpu in range(spec.gpus_per_server):
                graph.add_node(f"{server}.gpu{gpu}", kind="gpu")
                near.append((f"{server}.gpu{gpu}", f"{server}.socket{self.socket_of(gpu)}"))
                if spec.io_thread_bytes_per_s < math.inf:
                    graph.add_node(f"{server}.gpu{gpu}.io", kind="io")
            for pair in near:
                for tail, head in (pair, pair[::-1]):
                    graph.add_edge(
                        tail, head, capacity_bytes_per_s=math.inf, latency_s=0.0, link=None
                    )
        for name, (tail, head) in self._ends.items():
            link = self.links[name]
            graph.add_edge(
                tail,
                head,
                capacity_bytes_per_s=link.capacity_bytes_per_s,
                latency_s=link.latency_s,
                link=name,
            )
        return graph
