"""Simulated runs in a line: a machine in plain numbers, and what a run showed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from dualrt.core.faults import Slowdown
from dualrt.core.learner import Learner
from dualrt.core.records import Span, Update
from dualrt.observe.digest import TimingDigest
from dualrt.sim.cluster import ClusterSpec
from dualrt.sim.device import DeviceSpec
from dualrt.sim.driver import Machine, Simulator


@dataclass
class Log:
    """An observer that keeps everything. Appending is atomic, so threads may share one."""

    spans: list[Span] = field(default_factory=list)
    updates: list[tuple[float, Update]] = field(default_factory=list)
    elapsed_s: float = 0.0

    def span(self, span: Span) -> None:
        self.spans.append(span)

    def update(self, time_s: float, update: Update) -> None:
        self.updates.append((time_s, update))

    def steps(self, learner: int) -> int:
        """Updates that this learner reported."""
        return sum(update.learner == learner for _, update in self.updates)


def machine(
    learners: int,
    *,
    nic_bytes_per_s: float = 1e10,
    latency_s: float = 1e-6,
    gpus_per_server: int = 1,
    step_cv: float = 0.0,
    device_sigma: float = 0.0,
    slow: Mapping[int, float] | None = None,
    seed: int = 0,
) -> Machine:
    """A device of 1e12 flops/s and bytes/s for each learner; `slow` has stragglers' factors."""
    return Machine(
        ClusterSpec(
            servers=math.ceil(learners / gpus_per_server),
            gpus_per_server=gpus_per_server,
            nic_bytes_per_s=nic_bytes_per_s,
            nic_latency_s=latency_s,
            host_memory_bytes_per_s=1e11,
        ),
        DeviceSpec(
            flops_per_s=1e12, memory_bytes_per_s=1e12, step_cv=step_cv, device_sigma=device_sigma
        ),
        seed,
        {
            rank: (Slowdown(0.0, math.inf, factor),)
            for rank, factor in (slow or {}).items()
            if factor != 1
        },
    )


def simulate(learners: Sequence[Learner], on: Machine) -> Log:
    """Run to the end, and keep everything."""
    log = Log()
    log.elapsed_s = Simulator(learners, on, log).run()
    return log


def digest_of(learners: Sequence[Learner], on: Machine) -> str:
    """Run to the end, and keep one hash of what happened when."""
    digest = TimingDigest()
    Simulator(learners, on, digest).run()
    return digest.hexdigest()
