"""Random two-tier fabrics with staggered flows, to hold one network model against another.

    host -- up/down -- leaf switch -- up/down -- spine

Hosts under one leaf meet there; others cross both leaves' uplinks, which are oversubscribed. Every
cable is two links, and no link has latency. All numbers come from one seed.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import NamedTuple

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
