"""Patterns: who sends to whom in a collective, and which links that crosses how often.

Owns rings, chains, trees and lanes over the ranks of a group, as sets of edges laid over a cluster.
Must not know how many bytes are sent, nor what a step costs in software.

A ring visits a server's ranks one after another, so that it enters and leaves each server once. The
tree is two binary trees over the servers, each for half of the bytes, with the ranks of a server in
a chain below its first (Sanders, Speck and Traeff, Two-tree algorithms for full bandwidth
broadcast, reduction and scan, Parallel Computing 35, 2009). The lanes are rings over the servers,
one for the first ranks of all servers, one for the second, and so on.

All edges of a pattern move at one pace: the chunks of a collective are pipelined, and nobody can
send what has not reached it yet.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import pairwise
from typing import Literal, TypeAlias

from dualrt.core.errors import UsageError
from dualrt.sim.cluster import Cluster
from dualrt.sim.flows import Link, counted

Edge: TypeAlias = tuple[int, int]
"""Sender and receiver of the same number of bytes as every other edge of its pattern."""


Buffers: TypeAlias = Literal["device", "host", "rdma"]
"""Where a library's buffers are, which everything passes that it sends: on the GPUs; in the memory
of their hosts, and what is sent is copied into them and out of them; or there too, and the cards
read and write them by themselves, so that only what stays on a server is copied."""


class Pattern:
    """Edges between ranks, on the links that they cross.

    Parameters: the `cluster`, the `edges`, the part of its links' bandwidth that the pattern can
    reach (`efficiency`), and where the library has its `buffers`. An edge may be there twice, and
    counts twice.
    """

    def __init__(
        self,
        cluster: Cluster,
        edges: Iterable[Edge],
        efficiency: float = 1.0,
        buffers: Buffers = "device",
    ) -> None:
        self.edges = tuple(edges)
        routes = [_route(cluster, buffers, *edge) for edge in self.edges]
        self.crossings = tuple(link for route in routes for link in route)
        """A link as often as edges cross it."""
        self.loads = counted(self.crossings)
        """The same, each link once and how often."""
        near: list[float] = []
        far: list[float] = []
        sent = Counter[int]()
        for (sender, receiver), route in zip(self.edges, routes, strict=True):
            home, away = cluster.place(sender).server, cluster.place(receiver).server
            (near if home == away else far).append(sum(link.latency_s for link in route))
            sent[home] += home != away
        self.near_latency_s = _mean(near)
        """Of the links of an edge inside a server, on average; 0 if there is none."""
        self.far_latency_s = _mean(far)
        """Of the links of an edge between servers, on average; 0 if there is none."""
        pace = min(link.capacity_bytes_per_s / load for link, load in self.loads)
        most = max(sent.values())
        if most:
            pace = min(pace, cluster.spec.collective_bytes_per_s / most)
        self.cap_bytes_per_s = pace * efficiency
        """The most that an edge moves while all edges move as much, on links that are whole."""

    def pace_bytes_per_s(self) -> float:
        """What an edge moves while all edges move as much, on the links as they are now."""
        pace = min(link.available_bytes_per_s / load for link, load in self.loads)
        return min(pace, self.cap_bytes_per_s)


def _route(cluster: Cluster, buffers: Buffers, sender: int, receiver: int) -> Sequence[Link]:
    """What an edge crosses."""
    near = cluster.place(sender).server == cluster.place(receiver).server
    if buffers == "host" or (buffers == "rdma" and near):
        return cluster.staged_route(sender, receiver)
    return cluster.route(sender, receiver)


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else 0.0


TREE_EFFICIENCY = 0.92
"""Part of the bandwidth that a tree reaches, and the reason why a ring wins for many bytes. NCCL's
tuner, `ncclTopoTuneModel`."""


class Formation:
    """A group of ranks on a cluster, and the patterns in which they can send.

    The order of `ranks` does not matter, as with NCCL; `buffers` are as for a `Pattern`. Raises
    `UsageError` for an empty group, a rank given twice, or one that the cluster has no GPU for.
    """

    def __init__(self, cluster: Cluster, ranks: Sequence[int], buffers: Buffers = "device") -> None:
        if not ranks or len(set(ranks)) < len(ranks):
            raise UsageError(
                f"a collective among the ranks {list(ranks)} cannot be. Give one or more, each once"
            )
        self.cluster = cluster
        self.buffers = buffers
        members: dict[int, list[int]] = {}
        for rank in sorted(ranks):
            members.setdefault(cluster.place(rank).server, []).append(rank)
        self._chains = list(members.values())
        self.ranks = len(ranks)
        self.servers = len(self._chains)
        self.longest = max(map(len, self._chains))
        """The most ranks on one server."""
        self._cut: dict[int, Pattern] = {}

    @property
    def is_even(self) -> bool:
        """Whether every server has as many of the ranks."""
        return self.ranks == self.servers * self.longest

    @cached_property
    def _ring(self) -> tuple[int, ...]:
        return tuple(rank for chain in self._chains for rank in chain)

    @cached_property
    def ring(self) -> Pattern:
        """Every rank to the next, the last to the first."""
        return self._pattern(_closed(self._ring))

    @cached_property
    def tree(self) -> Pattern:
        """Both trees in both directions; an edge of a server's chain belongs to both trees."""
        edges: list[Edge] = []
        for chain in self._chains:
            edges += 2 * list(pairwise(chain))
        for child, parent in _two_trees(self.servers):
            edges.append((self._chains[child][0], self._chains[parent][0]))
        back = [(receiver, sender) for sender, receiver in edges]
        return self._pattern((*edges, *back), TREE_EFFICIENCY)

    @cached_property
    def inside(self) -> Pattern:
        """A ring on every server, all at once."""
        return self._pattern(edge for chain in self._chains for edge in _closed(chain))

    @cached_property
    def lanes(self) -> Pattern:
        """A ring over the servers for each place on a server, all at once."""
        lanes = zip(*self._chains, strict=True)
        return self._pattern(edge for lane in lanes for edge in _closed(lane))

    def chain(self, root: int) -> Pattern:
        """The ring, cut before `root`."""
        known = self._cut.get(root)
        if known is None:
            place = self._ring.index(root)
            chain = self._ring[place:] + self._ring[:place]
            known = self._cut[root] = self._pattern(pairwise(chain))
        return known

    def _pattern(self, edges: Iterable[Edge], efficiency: float = 1.0) -> Pattern:
        return Pattern(self.cluster, edges, efficiency, self.buffers)


def _closed(ring: Sequence[int]) -> Iterable[Edge]:
    return pairwise((*ring, ring[0])) if len(ring) > 1 else ()


def _two_trees(nodes: int) -> Iterable[Edge]:
    """Child and parent of all edges of two binary trees over 0 to `nodes` - 1.

    In the first tree the odd nodes are the leaves, and a node with k trailing zero bits sits k
    levels above them. The second is its mirror image, or for an odd number the same tree with every
    node one further, so that a leaf of one is an inner node of the other and none sends more than
    two bytes for each that is reduced.
    """
    for child in range(1, nodes):
        bit = child & -child
        parent = (child ^ bit) | (bit << 1)
        if parent >= nodes:
            parent = child ^ bit
        yield child, parent
        if nodes % 2:
            yield (child + 1) % nodes, (parent + 1) % nodes
        else:
            yield nodes - 1 - child, nodes - 1 - parent
