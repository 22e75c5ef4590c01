"""Collectives: how a simulated library does them, and when they end.

Owns the way from a call to its end: into which collectives it is cut, how each is done, and whether
it feels other traffic. Must not know who waits for whom: a collective starts when its last rank has
arrived, and the driver sees to that.

As `flow`, each phase of a collective is one flow in lockstep over all links of its pattern
(`Network.lockstep`): alone, it ends when the closed form says; otherwise it shares links max-min
fairly with gossip and with other groups' collectives, and a link that degrades slows it from then
on. As `closed`, its end is fixed at its start, by the formulas and the links as they are then. (No
formula says when a link that is cut will heal: meanwhile it flows.)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from dualrt.core.buckets import DDP_BUCKET_BYTES
from dualrt.sim.cluster import Cluster
from dualrt.sim.collective_costs import Algorithm, Plan, allreduce, broadcast, duration_s, joined
from dualrt.sim.granularity import Granularity, cut
from dualrt.sim.network import Network
from dualrt.sim.patterns import Buffers, Formation

Form: TypeAlias = Literal["flow", "closed"]


@dataclass(frozen=True, kw_only=True)
class CollectiveSpec:
    """How the library does collectives.

    Parameters: the `algorithm` of an allreduce; the `granularity` of all collectives of model-sized
    vectors, and the size of a bucket; where its `buffers` are; and the `form` of the simulation.
    """

    algorithm: Algorithm = "auto"
    granularity: Granularity = "model"
    bucket_bytes: int = DDP_BUCKET_BYTES
    buffers: Buffers = "device"
    form: Form = "flow"


class Collectives:
    """Collectives of groups of learners on one cluster.

    Parameters: the `cluster`, the `network` that its links belong to, the library's `spec`, and
    `tensors_bytes`, of the parameter tensors of the model that all learners train: a vector of the
    model's size is cut along them.
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
        self._buffers = spec.buffers
        self._form = spec.form
        self._model_bytes = sum(tensors_bytes)
        self._pieces = cut(tensors_bytes, spec.granularity, spec.bucket_bytes)
        self._formations: dict[tuple[int, ...], Formation] = {}
        self._plans: dict[tuple[tuple[int, ...], int | None, int], Plan] = {}

    def check(self, ranks: tuple[int, ...]) -> None:
        """Raise `UsageError` if the ranks cannot be a group, or cannot do the fixed algorithm."""
        allreduce(self._formation(ranks), 0, self._algorithm)

    def allreduce(
        self, ranks: tuple[int, ...], size_bytes: int, on_done: Callable[[], None]
    ) -> None:
        """Start an allreduce; `on_done` is called when it has ended at all ranks.

        Raises `UsageError` as `check` does.
        """
        key = ranks, None, size_bytes
        plan = self._plans.get(key)
        if plan is None:
            group = self._formation(ranks)
            pieces = (allreduce(group, piece, self._algorithm) for piece in self._cut(size_bytes))
            plan = self._plans[key] = joined(pieces)
        self._start(plan, on_done)

    def broadcast(
        self, ranks: tuple[int, ...], root: int, size_bytes: int, on_done: Callable[[], None]
    ) -> None:
        """Start a broadcast from the rank `root`; `on_done` as for an allreduce."""
        key = ranks, root, size_bytes
        plan = self._plans.get(key)
        if plan is None:
            group = self._formation(ranks)
            pieces = (broadcast(group, root, piece) for piece in self._cut(size_bytes))
            plan = self._plans[key] = joined(pieces)
        self._start(plan, on_done)

    def _cut(self, size_bytes: int) -> tuple[int, ...]:
        """Bytes of each collective, one after another."""
        return self._pieces if size_bytes == self._model_bytes else (size_bytes,)

    def _formation(self, ranks: tuple[int, ...]) -> Formation:
        formation = self._formations.get(ranks)
        if formation is None:
            formation = self._formations[ranks] = Formation(self._cluster, ranks, self._buffers)
        return formation

    def _start(self, plan: Plan, on_done: Callable[[], None]) -> None:
        expected_s = math.inf if self._form == "flow" else duration_s(plan)
        if expected_s == math.inf:
            self._flow(plan, on_done)
            return
        for phase in plan:
            for link in phase.pattern.crossings:
                self._network.charge(link, phase.edge_bytes)
        self._network.transfer((), 0, on_done, overhead_s=expected_s)

    def _flow(self, plan: Plan, on_done: Callable[[], None]) -> None:
        """Do the phases, one when the last has ended."""
        if not plan:
            self._network.transfer((), 0, on_done)
            return
        phase, rest = plan[0], plan[1:]
        self._network.lockstep(
            phase.pattern.loads,
            phase.edge_bytes,
            (lambda: self._flow(rest, on_done)) if rest else on_done,
            latency_s=phase.latency_s,
            cap_bytes_per_s=phase.pattern.cap_bytes_per_s,
        )
