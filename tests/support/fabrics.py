"""Random two-tier fabrics with staggered flows, to hold one network model against another.

    host -- up/down -- leaf switch -- up/down -- spine

Hosts under one leaf meet there; others cross both leaves' uplinks, which are oversubscribed. Every
cable is two links, and no link has latency. All numbers come from one seed.

`fabric` lays links of its own; `racks` takes those of a cluster description, and finds the ways
through them in the cluster's graph, not where the simulator does.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import networkx as nx

from dualrt.sim.clock import Clock
from dualrt.sim.cluster import Cluster, ClusterSpec
from dualrt.sim.network import Network

FLOWS = 300


class Flow(NamedTuple):
    """Bytes from one host to another; `route` holds indices of links."""

    start_s: float
    source: int
    target: int
    size_bytes: int
    route: tuple[int, ...]


@dataclass(frozen=True)
class Fabric:
    """Capacities of all links, the number of hosts, and flows in the order of their starts."""

    hosts: int
    links_bytes_per_s: tuple[float, ...]
    flows: tuple[Flow, ...]


def fabric(seed: int) -> Fabric:
    """2 to 6 leaves of 2 to 8 hosts, each with a capacity of its own, and `FLOWS` flows."""
    draw = random.Random(seed)
    leaves, hosts_per_leaf = draw.randint(2, 6), draw.randint(2, 8)
    hosts = leaves * hosts_per_leaf
    oversubscription = draw.uniform(1, 4)
    cards = [draw.uniform(0.5e9, 2e9) for _ in range(2 * hosts)]
    uplinks = [
        draw.uniform(0.5e9, 2e9) * hosts_per_leaf / oversubscription for _ in range(2 * leaves)
    ]
    # On average a flow starts in the time that a host needs for a few: many are under way at once.
    starts_s = sorted(draw.uniform(0, 0.1 * FLOWS / hosts) for _ in range(FLOWS))

    def flow(start_s: float) -> Flow:
        source, target = draw.sample(range(hosts), 2)
        up, down = 2 * source, 2 * target + 1
        home, away = source // hosts_per_leaf, target // hosts_per_leaf
        between = () if home == away else (2 * (hosts + home), 2 * (hosts + away) + 1)
        size_bytes = int(10 ** draw.uniform(5, 8.5))
        return Flow(start_s, source, target, size_bytes, (up, *between, down))

    return Fabric(hosts, (*cards, *uplinks), tuple(flow(start_s) for start_s in starts_s))


def description(seed: int) -> ClusterSpec:
    """2 to 4 racks of 2 to 4 servers of 2 GPUs, each on a socket of its own; the last rack may lack
    servers, and every second description has gossip threads that limit.
    """
    draw = random.Random(seed)
    members = draw.randint(2, 4)
    nic = draw.uniform(0.5e9, 2e9)
    return ClusterSpec(
        servers=draw.randint(members + 1, 4 * members),
        gpus_per_server=2,
        sockets_per_server=2,
        servers_per_rack=members,
        nic_bytes_per_s=nic,
        nic_latency_s=0.0,
        rack_bytes_per_s=members * nic / draw.uniform(1, 4),
        pcie_bytes_per_s=draw.uniform(0.5e9, 2e9),
        host_memory_bytes_per_s=1e9,
        io_thread_bytes_per_s=draw.uniform(0.3e9, 1e9) if seed % 2 else float("inf"),
    )


def racks(seed: int) -> Fabric:
    """The cluster that `description` describes, as a fabric of its GPUs, and `FLOWS` flows."""
    draw = random.Random(seed)
    spec = description(seed)
    cluster = Cluster(spec, Network(Clock()))
    number = {name: index for index, name in enumerate(cluster.links)}
    starts_s = sorted(draw.uniform(0, 0.1 * FLOWS / spec.gpus) for _ in range(FLOWS))

    def way(source: int, target: int) -> tuple[int, ...]:
        ends = [f"server{gpu // 2}.gpu{gpu % 2}" for gpu in (source, target)]
        steps = pairwise(nx.shortest_path(cluster.graph, *ends))
        wires = [cluster.graph.edges[step]["link"] for step in steps]
        threads = [f"{ends[0]}.io.out", f"{ends[1]}.io.in"]
        return tuple(number[name] for name in (*wires, *threads) if name in number)

    def flow(start_s: float) -> Flow:
        source, target = draw.sample(range(spec.gpus), 2)
        size_bytes = int(10 ** draw.uniform(5, 8.5))
        return Flow(start_s, source, target, size_bytes, way(source, target))

    capacities = tuple(link.capacity_bytes_per_s for link in cluster.links.values())
    return Fabric(spec.gpus, capacities, tuple(flow(start_s) for start_s in starts_s))
