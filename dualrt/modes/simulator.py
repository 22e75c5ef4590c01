"""Simulator: a scenario's cluster, device and faults, and the simulator of its learners on them.

Owns what of a scenario the simulator takes, and the keys that its refusals name. Must not know what
learners do, or what becomes of their records.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from dualrt.composition import Composition
from dualrt.core.errors import UsageError
from dualrt.core.faults import Fault, Weather
from dualrt.core.learner import Layout, Learner
from dualrt.core.records import Observer
from dualrt.core.workload import Workload
from dualrt.scenario import Scenario
from dualrt.settings import as_scenario_error
from dualrt.workloads.phantom import Phantom

if TYPE_CHECKING:
    from dualrt.sim.cluster import ClusterSpec
    from dualrt.sim.device import DeviceSpec
    from dualrt.sim.driver import Simulator

TOGETHER_FROM = 16
"""Learners from which the simulator takes gradients together unless told otherwise. So runs that
also fit into as many processes keep to one by one, and with it to their bits."""


def cluster_of(scenario: Scenario) -> ClusterSpec:
    """The simulated cluster; comes first, as making learners in their thousands takes long.

    Raises ScenarioError if it is too small.
    """
    from dualrt.sim.cluster import ClusterSpec

    cluster = ClusterSpec(**scenario.cluster_fields())
    if scenario.learners > cluster.gpus:
        servers = -(-scenario.learners // cluster.gpus_per_server)
        raise scenario.error(
            "learners",
            f"the cluster has {cluster.gpus} GPUs, and each learner needs one",
            f"Use --set learners={cluster.gpus}, --set cluster.servers={servers}, or --set "
            "cluster.servers_as_needed=true.",
        )
    return cluster


def device_of(scenario: Scenario) -> DeviceSpec:
    """The simulated device: a known one by name, with whatever else the scenario says of it.

    Raises ScenarioError for an unknown name or impossible figures.
    """
    from dualrt.sim.device import described

    fields = scenario.cluster.device_fields()
    try:
        return described(fields)
    except UsageError as error:
        key = "cluster.device"
        raise as_scenario_error(scenario, key, error, key, fields) from error


def simulator_of(
    composition: Composition,
    learners: Sequence[Learner],
    cluster: ClusterSpec,
    device: DeviceSpec,
    observer: Observer,
    faults: Sequence[Fault],
) -> Simulator:
    """The simulator of these learners, ready to run; `faults` come on top of the scenario's own.

    Raises UsageError for faults that cannot be or that the algorithm does not bear, ScenarioError
    where the scenario asks for them, and for collectives that cannot be.
    """
    from dualrt.sim.collectives import CollectiveSpec
    from dualrt.sim.driver import Machine, Simulator
    from dualrt.sim.faults import Adversity, FaultySimulator, check_faults

    scenario = composition.scenario
    machine = Machine(
        cluster,
        device,
        scenario.seed,
        {learner.rank: composition.slowdowns(learner.rank) for learner in learners},
        CollectiveSpec(**scenario.cluster.collectives.fields()),
    )
    _check_disorder(scenario, composition.layout, faults)
    # With numbers, learners in unison differ in more than their times.
    timing_only = isinstance(learners[0].seat.workload, Phantom)
    together = not timing_only and _together(scenario)
    faults = (*scenario.faults.build(len(learners), cluster.gpus_per_server), *faults)
    check_faults(faults, len(learners), cluster.servers)
    adversity = Adversity(
        faults,
        scenario.faults.detection(scenario.real.timeout_s),
        partial(_again, composition, learners[0].seat.workload),
    )
    try:
        if faults:
            return FaultySimulator(learners, machine, observer, adversity, together=together)
        return Simulator(
            learners,
            machine,
            observer,
            together=together,
            unison=composition.layout.unison if timing_only else (),
        )
    except UsageError as error:
        raise as_scenario_error(scenario, "cluster.collectives.algorithm", error) from error


def _check_disorder(scenario: Scenario, layout: Layout, faults: Sequence[Fault]) -> None:
    """Raise for messages that are to come twice or be overtaken, and would be taken for others."""
    if layout.bears_disorder:
        return
    problem = (
        f"{scenario.algorithm.name} as it is set relies on messages that come once and in order, "
        "as every real transport brings them"
    )
    remedy = "Leave it out, or take adpsgd with exchange = 'delta'"
    for number, messages in enumerate(scenario.faults.messages):
        for key in ("duplicate", "reorder"):
            if getattr(messages, key):
                raise scenario.error(f"faults.messages.{number}.{key}", problem, f"{remedy}.")
    for fault in faults:
        if isinstance(fault, Weather) and (fault.duplicate or fault.reorder):
            raise UsageError(f"{fault}: {problem}. {remedy}")


def _again(
    composition: Composition, workload: Workload[Any], rank: int, incarnation: int
) -> Learner:
    """Learner `rank` as it is after a crash."""
    return composition.learner(rank, workload, incarnation)


def _together(scenario: Scenario) -> bool:
    """Whether gradients are taken together where the workload offers it."""
    choice = scenario.simulation.gradients
    return choice == "together" or (choice == "auto" and scenario.learners >= TOGETHER_FROM)
