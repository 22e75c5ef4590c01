"""Collectives message by message, as an oracle for closed forms and for flows in lockstep.

Every message is a transfer of its own over the links between two ranks. What is known in closed
form elsewhere comes out of the order in which ranks receive, and send on, what they have.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

from dualrt.sim.clock import Clock
from dualrt.sim.cluster import Cluster, ClusterSpec
from dualrt.sim.collective_costs import NVLINK_HOP, PCIE_HOP
from dualrt.sim.network import Network
from dualrt.sim.patterns import Formation, Pattern


def ring_s(
    spec: ClusterSpec, rings: Sequence[Sequence[int]], part_bytes: float, steps: int
) -> float:
    """Seconds until, in each of the rings, every rank has sent `steps` parts to the next.

    A rank sends its own part first, then each part that it receives, one after another: with n
    ranks, n - 1 steps are a reduce-scatter or an all-gather, and 2(n - 1) an allreduce.
    """
    env = Clock()
    network = Network(env)
    cluster = Cluster(spec, network)
    for ring in rings:
        _Ring(cluster, network, ring, part_bytes, steps).start()
    env.run()
    return float(env.now)


class _Ring:
    """One ring at work."""

    def __init__(
        self,
        cluster: Cluster,
        network: Network,
        ranks: Sequence[int],
        part_bytes: float,
        steps: int,
    ) -> None:
        self._cluster, self._network, self._ranks = cluster, network, ranks
        self._part_bytes, self._steps = math.ceil(part_bytes), steps
        self._sent = [0] * len(ranks)
        self._received = [0] * len(ranks)
        self._sending = [False] * len(ranks)

    def start(self) -> None:
        for place in range(len(self._ranks)):
            self._send(place)

    def _send(self, place: int) -> None:
        has = 1 + self._received[place] - self._sent[place]
        if self._sending[place] or not has or self._sent[place] == self._steps:
            return
        self._sending[place] = True
        self._sent[place] += 1
        sender, receiver = self._ranks[place], self._ranks[(place + 1) % len(self._ranks)]
        self._network.transfer(
            self._cluster.route(sender, receiver),
            self._part_bytes,
            partial(self._arrived, place),
            overhead_s=_hop_s(self._cluster, sender, receiver),
        )

    def _arrived(self, place: int) -> None:
        after = (place + 1) % len(self._ranks)
        self._sending[place] = False
        self._received[after] += 1
        self._send(place)
        self._send(after)


def _hop_s(cluster: Cluster, sender: int, receiver: int) -> float:
    if cluster.place(sender).server != cluster.place(receiver).server:
        return cluster.spec.collective_network_hop_s
    return (NVLINK_HOP if cluster.spec.nvlink_bytes_per_s else PCIE_HOP).ring_s


def edges_s(
    spec: ClusterSpec,
    ranks: Sequence[int],
    pattern: Callable[[Formation], Pattern],
    edge_bytes: int,
) -> float:
    """Seconds until so many bytes have flowed over each edge, all at once and none in step."""
    env = Clock()
    network = Network(env)
    cluster = Cluster(spec, network)
    for sender, receiver in pattern(Formation(cluster, ranks)).edges:
        network.transfer(cluster.route(sender, receiver), edge_bytes, lambda: None)
    env.run()
    return float(env.now)
