"""Collectives: what an allreduce or a broadcast costs, in closed form.

Owns the cost formulas, and which links carry how many bytes. Must not know who waits for whom: a
collective starts when its last rank has arrived, and the driver sees to that.

The formulas are those of NCCL's tuner (github.com/NVIDIA/nccl, src/graph/tuning.cc), Simple
protocol, for n ranks on N servers:

    ring allreduce    launch + 2(n-1) hops + 2(n-1)/n * bytes / bandwidth
    tree allreduce    launch + 2 * depth hops + bytes / (bandwidth * TREE_EFFICIENCY)
    broadcast         launch +  (n-1) hops + bytes / bandwidth              (a pipelined chain)

The ring visits a server's ranks one after another, so that it enters and leaves each server once.
Of its 2(n-1) hops, 2N go from server to server (with one rank a server, all). The tree is two
binary trees over the servers, each for half of the bytes, with the ranks of a server in a chain
below its first (Sanders, Speck and Traeff, Two-tree algorithms for full bandwidth broadcast,
reduction and scan, Parallel Computing 35, 2009).

Bandwidths come from the links: each carries a certain number of bytes for every byte that is
reduced, and the one that needs longest for it sets the pace of all. NCCL's corrections for message
sizes that fit neither formula well are left out: they are fits to machines that we do not model.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, NamedTuple, TypeAlias

from dualrt.core.errors import UsageError
from dualrt.sim.cluster import Cluster
from dualrt.sim.granularity import DDP_BUCKET_BYTES, Granularity, cut
from dualrt.sim.network import Link, Network

Algorithm: TypeAlias = Literal["auto", "ring", "tree"]
"""How to allreduce. `auto` is the one that the formulas say is faster, as NCCL's tuner does."""

Charges: TypeAlias = tuple[tuple[Link, float], ...]
"""Links, and bytes that each carries."""


class Hop(NamedTuple):
    """Seconds of one step from a rank to the next, software included."""

    ring_s: float
    tree_s: float


NVLINK_HOP = Hop(ring_s=3.4e-6, tree_s=4.0e-6)
"""NCCL's tuner, `hwLatencies`, NVLink, Simple."""
PCIE_HOP = Hop(ring_s=5.7e-6, tree_s=4.0e-6)
"""NCCL's tuner, `hwLatencies`, PCI, Simple."""
TREE_EFFICIENCY = 0.92
"""Part of the bandwidth that a tree reaches, and the reason why a ring wins for many bytes. NCCL's
tuner, `ncclTopoTuneModel`."""


class Pattern(NamedTuple):
    """Who sends how much, for every byte that one edge of the ring carries or the tree reduces."""

    loads: Charges
    sent: float
    """By the server that sends most to others; 0 on one server."""


@dataclass(frozen=True, slots=True)
class GroupShape:
    """All that the cost of a collective depends on, for one group of ranks on one cluster.

    Parameters: `ranks` members on `servers` servers, at most `chain` on one; the launch; a hop
    inside a server (`local`) and between two (`network`), latency of the links included; the
    patterns of `ring` and `tree`; and the most that the library sends from one server.
    """

    ranks: int
    servers: int
    chain: int
    launch_s: float
    local: Hop
    network: Hop
    ring: Pattern
    tree: Pattern
    server_cap_bytes_per_s: float


def allreduce_s(shape: GroupShape, size_bytes: int, algorithm: Algorithm = "auto") -> float:
    """Seconds from the arrival of the last rank to the end at all ranks.

    Taken with the links as they are now: infinite while one of them is cut. A group of one needs
    no time.
    """
    if shape.ranks == 1:
        return 0.0
    if algorithm == "ring":
        return _ring_s(shape, size_bytes)
    if algorithm == "tree":
        return _tree_s(shape, size_bytes)
    return min(_ring_s(shape, size_bytes), _tree_s(shape, size_bytes))


def allreduce_charges(shape: GroupShape, size_bytes: int, algorithm: Algorithm = "auto") -> Charges:
    """The bytes that each link carries in an allreduce."""
    if shape.ranks == 1:
        return ()
    if algorithm == "auto":
        tree_wins = _tree_s(shape, size_bytes) < _ring_s(shape, size_bytes)
        algorithm = "tree" if tree_wins else "ring"
    if algorithm == "tree":
        return _scaled(shape.tree, size_bytes)
    return _scaled(shape.ring, 2 * _part(shape) * size_bytes)


def broadcast_s(shape: GroupShape, size_bytes: int) -> float:
    """Seconds until the bytes of the root, whichever it is, are at all ranks."""
    if shape.ranks == 1:
        return 0.0
    hops_s = _hops_s(shape.ranks - 1, shape.servers - 1, shape)
    return shape.launch_s + hops_s + _moving_s(shape.ring, size_bytes, shape)


def broadcast_charges(shape: GroupShape, size_bytes: int) -> Charges:
    """The bytes that each link carries in a broadcast.

    The edge of the ring that leads back to the root is idle. Which one that is depends on the root;
    the charge is the mean over all roots.
    """
    return _scaled(shape.ring, _part(shape) * size_bytes)


def _part(shape: GroupShape) -> float:
    return (shape.ranks - 1) / shape.ranks


def _ring_s(shape: GroupShape, size_bytes: int) -> float:
    hops = 2 * (shape.ranks - 1)
    between = min(2 * shape.servers, hops) if shape.servers > 1 else 0
    moved = 2 * _part(shape) * size_bytes
    return shape.launch_s + _hops_s(hops, between, shape) + _moving_s(shape.ring, moved, shape)


def _tree_s(shape: GroupShape, size_bytes: int) -> float:
    depth = (shape.servers - 1).bit_length()
    down_s = (shape.chain - 1) * shape.local.tree_s + depth * shape.network.tree_s
    moving_s = _moving_s(shape.tree, size_bytes, shape) / TREE_EFFICIENCY
    return shape.launch_s + 2 * down_s + moving_s


def _hops_s(hops: int, between: int, shape: GroupShape) -> float:
    """Latency of `hops` steps along the ring, `between` of them from server to server."""
    return (hops - between) * shape.local.ring_s + between * shape.network.ring_s


def _moving_s(pattern: Pattern, size_bytes: float, shape: GroupShape) -> float:
    """Seconds that the slowest link needs, or the library."""
    pace = min(link.available_bytes_per_s / load for link, load in pattern.loads)
    if pattern.sent:
        pace = min(pace, shape.server_cap_bytes_per_s / pattern.sent)
    return size_bytes / pace if pace else math.inf


def _scaled(pattern: Pattern, size_bytes: float) -> Charges:
    return tuple((link, load * size_bytes) for link, load in pattern.loads)


def group_shape(cluster: Cluster, ranks: Sequence[int]) -> GroupShape:
    """The shape of a group on a cluster; the order of `ranks` does not matter, as with NCCL.

    Raises `UsageError` for an empty group, a rank given twice, or one that the cluster has no GPU
    for.
    """
    if not ranks or len(set(ranks)) < len(ranks):
        raise UsageError(
            f"a collective among the ranks {list(ranks)} cannot be. Give one or more, each once"
        )
    spec = cluster.spec
    members: dict[int, list[int]] = {}
    for rank in sorted(ranks):
        members.setdefault(cluster.place(rank).server, []).append(rank)
    chains = list(members.values())
    local_s, network_s = spec.local_latency_s, cluster.hop_latency_s(tuple(members))
    local = NVLINK_HOP if spec.nvlink_bytes_per_s else PCIE_HOP
    hop_s = spec.collective_network_hop_s
    return GroupShape(
        ranks=len(ranks),
        servers=len(chains),
        chain=max(map(len, chains)),
        launch_s=spec.collective_launch_s,
        local=Hop(local.ring_s + local_s, local.tree_s + local_s),
        network=Hop(hop_s + network_s, hop_s + network_s),
        ring=_pattern(cluster, _ring_edges(chains)),
        tree=_pattern(cluster, _tree_edges(chains)),
        server_cap_bytes_per_s=spec.collective_bytes_per_s,
    )


_Edge: TypeAlias = tuple[int, int, float]
"""Sender, receiver, and the bytes that it is sent for every byte of the pattern."""


def _ring_edges(chains: Sequence[Sequence[int]]) -> Iterable[_Edge]:
    ring = [rank for chain in chains for rank in chain]
    for sender, receiver in pairwise([*ring, ring[0]]):
        yield sender, receiver, 1.0


def _tree_edges(chains: Sequence[Sequence[int]]) -> Iterable[_Edge]:
    """Every edge is used in both directions: up to reduce, down to broadcast."""
    for chain in chains:
        for parent, child in pairwise(chain):
            yield from _both_ways(parent, child, 1.0)
    for child, parent in _two_trees(len(chains)):
        yield from _both_ways(chains[parent][0], chains[child][0], 0.5)


def _both_ways(one: int, other: int, load: float) -> Iterable[_Edge]:
    yield one, other, load
    yield other, one, load


def _two_trees(nodes: int) -> Iterable[tuple[int, int]]:
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


def _pattern(cluster: Cluster, edges: Iterable[_Edge]) -> Pattern:
    """What a set of edges loads the links and the servers with."""
    loads: dict[Link, float] = {}
    sent: dict[int, float] = {}
    for sender, receiver, load in edges:
        for link in cluster.route(sender, receiver):
            loads[link] = loads.get(link, 0.0) + load
        home, away = cluster.place(sender).server, cluster.place(receiver).server
        if home != away:
            sent[home] = sent.get(home, 0.0) + load
    return Pattern(tuple(loads.items()), max(sent.values(), default=0.0))


@dataclass(frozen=True, kw_only=True)
class CollectiveSpec:
    """How the library does collectives.

    Parameters: the `algorithm` of an allreduce; the `granularity` of all collectives of model-sized
    vectors, and the size of a bucket.
    """

    algorithm: Algorithm = "auto"
    granularity: Granularity = "model"
    bucket_bytes: int = DDP_BUCKET_BYTES


class Collectives:
    """Collectives of groups of learners on one cluster.

    Parameters: the `cluster`, the `network` that its links are charged in, the library's `spec`,
    and `tensors_bytes`, of the parameter tensors of the model that all learners train: a vector of
    the model's size is cut along them.
    """

    def __init__(
        self,
        cluster: Cluster,
        network: Network,
        spec: CollectiveSpec = CollectiveSpec(),
        tensors_bytes: Sequence[int] = (),
    ) -> None:
        self._cluster = cluster
        self._network = network
        self._algorithm = spec.algorithm
        self._model_bytes = sum(tensors_bytes)
        self._pieces = cut(tensors_bytes, spec.granularity, spec.bucket_bytes)
        self._shapes: dict[tuple[int, ...], GroupShape] = {}

    def allreduce_s(self, ranks: tuple[int, ...], size_bytes: int) -> float:
        """Seconds of an allreduce that starts now; its bytes are charged to the links."""
        shape, elapsed_s = self._shape(ranks), 0.0
        for piece_bytes in self._cut(size_bytes):
            self._charge(allreduce_charges(shape, piece_bytes, self._algorithm))
            elapsed_s += allreduce_s(shape, piece_bytes, self._algorithm)
        return elapsed_s

    def broadcast_s(self, ranks: tuple[int, ...], size_bytes: int) -> float:
        """Seconds of a broadcast that starts now; its bytes are charged to the links."""
        shape, elapsed_s = self._shape(ranks), 0.0
        for piece_bytes in self._cut(size_bytes):
            self._charge(broadcast_charges(shape, piece_bytes))
            elapsed_s += broadcast_s(shape, piece_bytes)
        return elapsed_s

    def _cut(self, size_bytes: int) -> tuple[int, ...]:
        """Bytes of each collective, one after another."""
        return self._pieces if size_bytes == self._model_bytes else (size_bytes,)

    def _shape(self, ranks: tuple[int, ...]) -> GroupShape:
        shape = self._shapes.get(ranks)
        if shape is None:
            shape = self._shapes[ranks] = group_shape(self._cluster, ranks)
        return shape

    def _charge(self, charges: Charges) -> None:
        for link, size_bytes in charges:
            self._network.charge(link, size_bytes)
