"""Collective costs: what an allreduce, a broadcast and their parts take, in closed form.

Owns the cost formulas. Must not know who waits for whom, nor what else uses the links.

With n ranks on N servers, m on each, S bytes, and B the pace of a pattern's edges (sim/patterns.py)
on links that nothing else uses:

    ring allreduce      launch + 2(n-1) hops + 2(n-1)/n * S / B(ring)
    tree allreduce      launch + 2(m-1) hops inside + 2 * depth hops between + S/2 / B(tree)
    reduce-scatter      launch +  (n-1) hops + (n-1)/n * S / B(ring)
    all-gather          the same
    broadcast           launch +  (n-1) hops + S / B(chain)
    hierarchical        launch +  (m-1) hops inside + (m-1)/m * S / B(inside)       reduce-scatter
      allreduce         launch + 2(N-1) hops between + 2(N-1)/N * S/m / B(lanes)    allreduce
                        launch +  (m-1) hops inside + (m-1)/m * S / B(inside)       all-gather

Ring, tree and the parts are the formulas of NCCL's tuner (github.com/NVIDIA/nccl,
src/graph/tuning.cc), Simple protocol, with its numbers of hops: of a ring allreduce's 2(n-1), 2N go
from server to server (with one rank a server, all), and N-1 of the n-1 of a part. An edge of the
tree pattern carries half of the bytes, in each direction. Hierarchical is three calls, each with
its launch, as Horovod does it (HOROVOD_HIERARCHICAL_ALLREDUCE); NCCL has no counterpart without the
help of switches that can add.

NCCL's corrections for message sizes that fit neither formula well, and its protocols for small
messages, are left out: they are fits to machines that we do not model.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal, NamedTuple, TypeAlias

from dualrt.core.errors import UsageError
from dualrt.sim.patterns import Formation, Pattern

Algorithm: TypeAlias = Literal["auto", "ring", "tree", "hierarchical"]
"""How to allreduce. `auto` is what NCCL's tuner does: ring or tree, whichever the formulas say is
faster on links that are whole and quiet."""


class Hop(NamedTuple):
    """Seconds of software in one step from a rank to the next."""

    ring_s: float
    tree_s: float


NVLINK_HOP = Hop(ring_s=3.4e-6, tree_s=4.0e-6)
"""NCCL's tuner, `hwLatencies`, NVLink, Simple."""
PCIE_HOP = Hop(ring_s=5.7e-6, tree_s=4.0e-6)
"""NCCL's tuner, `hwLatencies`, PCI, Simple."""


class Phase(NamedTuple):
    """A stretch of a collective: a latency passes, then each edge of a pattern moves some bytes."""

    pattern: Pattern
    latency_s: float
    edge_bytes: float

    def duration_s(self) -> float:
        """Alone on the links as they are now; infinite while one of them is cut."""
        if not self.edge_bytes:
            return self.latency_s
        pace = self.pattern.pace_bytes_per_s()
        return self.latency_s + self.edge_bytes / pace if pace else math.inf

    def whole_s(self) -> float:
        """Alone on links that are whole."""
        return self.latency_s + self.edge_bytes / self.pattern.cap_bytes_per_s


Plan: TypeAlias = tuple[Phase, ...]
"""The phases of a collective, one after another. A group of one has none: it needs no time."""


def duration_s(plan: Plan) -> float:
    """Seconds of a collective that starts now and has its links to itself."""
    return sum(phase.duration_s() for phase in plan)


def allreduce(group: Formation, size_bytes: int, algorithm: Algorithm = "auto") -> Plan:
    """The plan of an allreduce.

    Raises `UsageError` for a hierarchical one with more ranks on one server than on another.
    """
    if group.ranks == 1:
        return ()
    if algorithm == "hierarchical":
        return _hierarchical(group, size_bytes)
    ring, tree = _ring(group, size_bytes), _tree(group, size_bytes)
    if algorithm == "auto":
        algorithm = "tree" if tree.whole_s() < ring.whole_s() else "ring"
    return (tree if algorithm == "tree" else ring,)


def broadcast(group: Formation, root: int, size_bytes: int) -> Plan:
    """The plan of a broadcast from the rank `root`: a pipelined chain."""
    if group.ranks == 1:
        return ()
    chain = group.chain(root)
    latency_s = _launch_s(group) + _hops_s(chain, group, group.ranks - 1, group.servers - 1)
    return (Phase(chain, latency_s, size_bytes),)


def reduce_scatter(group: Formation, size_bytes: int) -> Plan:
    """The plan of a reduce-scatter: each rank ends with the sum of its part of `size_bytes`."""
    if group.ranks == 1:
        return ()
    hops = group.ranks - 1
    latency_s = _launch_s(group) + _hops_s(group.ring, group, hops, group.servers - 1)
    return (Phase(group.ring, latency_s, hops / group.ranks * size_bytes),)


def all_gather(group: Formation, size_bytes: int) -> Plan:
    """The plan of an all-gather, after which each rank has all `size_bytes`: the way back."""
    return reduce_scatter(group, size_bytes)


def joined(plans: Iterable[Plan]) -> Plan:
    """Collectives one after another as one: equal phases of all are put together.

    Their latencies and their bytes add up, so the whole takes as long as before.
    """
    phases: dict[tuple[tuple[Pattern, int], ...], Plan] = {}
    for plan in plans:
        key = tuple((phase.pattern, place) for place, phase in enumerate(plan))
        known = phases.get(key)
        phases[key] = plan if known is None else tuple(map(_sum, known, plan))
    return tuple(phase for plan in phases.values() for phase in plan)


def _sum(one: Phase, other: Phase) -> Phase:
    return Phase(one.pattern, one.latency_s + other.latency_s, one.edge_bytes + other.edge_bytes)


def _ring(group: Formation, size_bytes: int) -> Phase:
    hops = 2 * (group.ranks - 1)
    far = min(2 * group.servers, hops) if group.servers > 1 else 0
    latency_s = _launch_s(group) + _hops_s(group.ring, group, hops, far)
    return Phase(group.ring, latency_s, hops / group.ranks * size_bytes)


def _tree(group: Formation, size_bytes: int) -> Phase:
    depth = (group.servers - 1).bit_length()
    near_s = _near_hop(group).tree_s + group.tree.near_latency_s
    far_s = group.cluster.spec.collective_network_hop_s + group.tree.far_latency_s
    latency_s = _launch_s(group) + 2 * ((group.longest - 1) * near_s + depth * far_s)
    return Phase(group.tree, latency_s, size_bytes / 2)


def _hierarchical(group: Formation, size_bytes: int) -> Plan:
    if not group.is_even:
        raise UsageError(
            f"a hierarchical allreduce among {group.ranks} learners on {group.servers} servers: "
            f"they must be as many on each. Use algorithm ring or tree, or another number"
        )
    servers, members = group.servers, group.longest
    phases: list[Phase] = []
    if servers > 1:
        hops = 2 * (servers - 1)
        latency_s = _launch_s(group) + _hops_s(group.lanes, group, hops, hops)
        phases.append(Phase(group.lanes, latency_s, hops / servers * size_bytes / members))
    if members > 1:
        hops = members - 1
        latency_s = _launch_s(group) + _hops_s(group.inside, group, hops, 0)
        part = Phase(group.inside, latency_s, hops / members * size_bytes)
        phases = [part, *phases, part]
    return tuple(phases)


def _launch_s(group: Formation) -> float:
    return group.cluster.spec.collective_launch_s


def _near_hop(group: Formation) -> Hop:
    nvlink = group.buffers == "device" and group.cluster.spec.nvlink_bytes_per_s
    return NVLINK_HOP if nvlink else PCIE_HOP


def _hops_s(pattern: Pattern, group: Formation, hops: int, far: int) -> float:
    """Latency of `hops` steps of a ring or chain, `far` of them from server to server."""
    near_s = _near_hop(group).ring_s + pattern.near_latency_s
    far_s = group.cluster.spec.collective_network_hop_s + pattern.far_latency_s
    return (hops - far) * near_s + far * far_s
