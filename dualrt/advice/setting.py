"""Setting: the cluster, the model and the mini-batch that a topology is judged for.

Owns how the command line's few words become the simulator's description. Knows nothing of graphs.
"""

from __future__ import annotations

from dataclasses import dataclass

from dualrt.core.effects import Cost
from dualrt.core.errors import UsageError
from dualrt.scenario import load_cluster
from dualrt.scenario.cluster import Cluster
from dualrt.scenario.reading import locate
from dualrt.sim import cluster as simulated
from dualrt.sim.cluster import ClusterSpec
from dualrt.sim.device import DeviceSpec
from dualrt.sim.device import described as device_described
from dualrt.workloads.phantom import AcousticPhantom

ASSUMED = "v100-cloud-100g"
"""The cluster that is assumed where none is named, with as many servers as the learners need."""

BATCH = 128
"""Samples of a learner's mini-batch: that of arXiv 1907.05701 on 64 GPUs."""


@dataclass(frozen=True, slots=True)
class Setting:
    """Where learners would run, and what they would exchange."""

    name: str
    assumed: bool
    """Whether nobody named the cluster, so that it is no reason to refuse a graph."""
    cluster: ClusterSpec
    device: DeviceSpec
    model_bytes: int
    gradient: Cost
    fitted: tuple[str, ...] = ()
    """Figures of the cluster that were fitted to measurements, in words."""

    @property
    def gradient_s(self) -> float:
        """What a mini-batch's gradient takes on an undisturbed device."""
        return self.device.nominal_s(self.gradient)


def setting(
    learners: int, cluster: str | None = None, model_bytes: int | None = None, batch: int = BATCH
) -> Setting:
    """The setting for that many learners.

    `cluster` is a file or the name of a shipped description; `model_bytes` the size of what is
    exchanged, by default that of the acoustic model of arXiv 1907.05701, 172.6 MB.

    Raises UsageError for a cluster that is not there or has too few GPUs.
    """
    name = ASSUMED if cluster is None else cluster
    found = load_cluster(locate(name, "topologies", "cluster"))
    described = Cluster(**found.model_dump(exclude_none=True))
    if cluster is None:
        gpus = described.gpus_per_server or 1
        described = described.model_copy(update={"servers": -(-learners // gpus)})
    spec = ClusterSpec(**described.fields(learners))
    if learners > spec.gpus:
        servers = -(-learners // spec.gpus_per_server)
        raise UsageError(
            f"cluster {name} has {spec.gpus} GPUs, and {learners} learners need one each. Name a "
            f"smaller graph, or a description with servers = {servers}"
        )
    work = AcousticPhantom(seed=0, learners=learners, batch=batch)
    try:
        device = device_described(described.device_fields())
    except UsageError as error:
        raise UsageError(f"cluster {name}: {error}") from error
    size = work.weights(0).nbytes if model_bytes is None else model_bytes
    marks = described.fitted or {}
    fitted = tuple(
        f"{key} = {value:.4g} ({marks[key].calibration})"
        for key, value in described.fitted_values().items()
    )
    return Setting(name, cluster is None, spec, device, size, work.gradient_cost, fitted)


def links_of(spec: ClusterSpec) -> simulated.Cluster:
    """The links and routes of a cluster, with nothing on them."""
    from dualrt.sim.clock import Clock
    from dualrt.sim.network import Network

    return simulated.Cluster(spec, Network(Clock()))
