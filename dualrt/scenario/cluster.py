"""Cluster: the machines that the simulator simulates.

Owns the `[cluster]` table and the files that describe clusters. Must not know how the simulator
turns them into links and devices; it only keeps the simulator's names.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator

from dualrt.scenario.keys import lookup
from dualrt.scenario.quantities import (
    Amount,
    Cap,
    Count,
    Factor,
    Flag,
    Machines,
    Name,
    Positive,
    Sockets,
    Spread,
    Table,
    Text,
    without_default,
)

Point = tuple[Count, Positive]
"""(samples of the mini-batch, seconds)."""


def _ascending(points: tuple[Point, ...]) -> tuple[Point, ...]:
    if any(left >= right for (left, _), (right, _) in pairwise(points)):
        raise ValueError("is not in ascending order of samples")
    return points


Profile = Annotated[tuple[Point, ...], Field(min_length=1), AfterValidator(_ascending)]


class SlowPeriods(Table):
    """Periods in which a device is slow, with normal ones between; both of random length."""

    factor: Factor = Field(description="How many times as long computations take in a slow period.")
    mean_s: Positive = Field(
        description="Mean length of a slow period, which is exponentially distributed."
    )
    mean_between_s: Positive = Field(description="The same, of the time between two of them.")
    scope: Literal["device", "server"] = Field(
        default="device",
        description="Whether each device has its own, or all of a server are slow together.",
    )


class Device(Table):
    """What computes a learner's gradients: a known device, its own figures, or both.

    Keys and meaning are those of the simulator's `DeviceSpec`, but for `memory_bytes`; what is left
    out is as in the device of that name, or none.
    """

    name: Name | None = Field(
        default=None,
        description="A device of which dualrt has the papers' measured times: V100-x86, V100-P9 or "
        "P100; left out: flops_per_s and memory_bytes_per_s are needed.",
    )
    profiles: dict[str, Profile] | None = Field(
        default=None,
        description="Measured times: for each kind of computation ('gradient'), a list of "
        "[samples, seconds] by ascending samples, between which time is linear.",
    )
    flops_per_s: Positive | None = Field(
        default=None, description="Arithmetic speed, for kinds of computation without a profile."
    )
    memory_bytes_per_s: Positive | None = Field(
        default=None,
        description="Bandwidth of the device's memory, for kinds of computation without a profile.",
    )
    memory_bytes: Positive | None = Field(
        default=None,
        description="Size of the device's memory; a simulation warns where the model cannot fit. "
        "Left out: it is not looked at.",
    )
    launch_s: Amount | None = Field(
        default=None, description="Time that any computation takes at least, to be started."
    )
    device_sigma: Spread | None = Field(
        default=None,
        description="Spread between devices: sigma of a lognormal factor that each keeps for good.",
    )
    step_cv: Spread | None = Field(
        default=None,
        description="Spread between steps: coefficient of variation of a gamma factor that each "
        "computation draws.",
    )
    step_factors: dict[str, Annotated[tuple[Positive, ...], Field(min_length=1)]] | None = Field(
        default=None,
        description="Recorded spread: for a kind of computation ('gradient'), what each step of a "
        "real run took, by the mean; replayed in order instead of drawing from step_cv.",
    )
    slow_periods: SlowPeriods | None = Field(
        default=None, description="Periods in which a device is slow, at random."
    )
    interference: Amount | None = Field(
        default=None,
        description="By how much of its time a computation takes longer while its device sends, "
        "receives or takes part in a collective; 0.2 is a fifth.",
    )
    bfloat16_speedup: Positive | None = Field(
        default=None,
        description="How many times faster a gradient is with training.precision = 'bfloat16', as "
        "measured; left out: as fast as in float32.",
    )

    @model_validator(mode="after")
    def _rated(self) -> Self:
        if self.name is None and None in {self.flops_per_s, self.memory_bytes_per_s}:
            raise ValueError("has no name, and not both of flops_per_s and memory_bytes_per_s")
        return self


class Fitted(Table):
    """Where a fitted value comes from. Whoever sets the key to another value takes the mark off."""

    calibration: Name = Field(description="The calibration that fitted it.")
    points: tuple[Name, ...] = Field(
        min_length=1, description="The measured points that it was fitted to."
    )
    rms_error: Amount | None = Field(
        default=None,
        description="How far that calibration was off at all its points: the root mean square of "
        "log(simulated / measured); left out: not known.",
    )


class Collectives(Table):
    """How the library does collectives."""

    algorithm: Literal["auto", "ring", "tree", "hierarchical"] = Field(
        default="auto",
        description="Of an allreduce; auto: ring or tree, whichever NCCL's formulas say is faster; "
        "hierarchical: reduce-scatter inside servers, allreduce between them, all-gather inside.",
    )
    granularity: Literal["model", "buckets", "tensor"] = Field(
        default="model",
        description="A collective for the whole model; for each bucket of parameter tensors, like "
        "DistributedDataParallel; or for each tensor, one after another, each with its latency.",
    )
    bucket_bytes: Count | None = Field(
        default=None,
        description="From which size on a bucket is sent, for granularity = 'buckets'; left out: "
        "25 MiB, as in DistributedDataParallel.",
    )
    buffers: Literal["device", "host", "rdma"] = Field(
        default="device",
        description="device: from GPU to GPU over NVLink, or PCIe and network, like NCCL; host: by "
        "way of the servers' memory, whose bandwidth it shares with averaging, like MPI of 2019; "
        "rdma: the same, but network cards read and write that memory by themselves, so that only "
        "what stays on a server takes of its bandwidth.",
    )
    form: Literal["flow", "closed"] = Field(
        default="flow",
        description="flow: shares links with all other traffic; closed: ends when NCCL's formulas "
        "say, whatever else crosses its links meanwhile.",
    )

    @model_validator(mode="after")
    def _bucketed(self) -> Self:
        if self.bucket_bytes is not None and self.granularity != "buckets":
            raise ValueError("has bucket_bytes, and granularity is not 'buckets'")
        return self

    def fields(self) -> dict[str, Any]:
        """What was said or has a default; what was left out is absent."""
        return self.model_dump(exclude_none=True)


_NO_SPINE = (None, math.inf, 0.0)
"""What the keys about the spine say where there is none."""


class ClusterDescription(Table):
    """Servers, their links and their devices, as a file describes them.

    Defaults are those of the simulator's `ClusterSpec`, which has their sources.
    """

    title: Text = Field(default="", description="What cluster this is.")
    source: Text = Field(default="", description="Where its figures are published.")
    servers: Machines = Field(description="Number of servers.")
    price_per_server_hour: Positive | None = Field(
        default=None,
        description="What a server costs an hour, in a currency of your own; every server that has "
        "a learner is paid for.",
    )
    servers_as_needed: Flag = Field(
        default=False,
        description="Have as many servers as the learners fill, whatever `servers` says.",
    )
    gpus_per_server: Machines | None = Field(
        default=None,
        description="Devices in a server, one a learner; left out: as many as the learners need.",
    )
    sockets_per_server: Sockets = Field(
        default=2, description="Processor sockets, each with a PCIe root that its devices share."
    )
    nic_bytes_per_s: Positive = Field(description="Network card, each direction.")
    nic_latency_s: Amount = Field(
        default=0.5e-6, description="Of one card, met twice from server to server."
    )
    switch_latency_s: Amount = Field(default=0.0, description="Of the switch between servers.")
    servers_per_rack: Count | None = Field(
        default=None,
        description="Servers at the switch of one rack, with a spine between racks; left out: one "
        "switch for all.",
    )
    rack_bytes_per_s: Cap = Field(
        default=math.inf,
        description="Of a rack to the spine, each direction, shared by its servers; left out: as "
        "much as their cards have together, or as `oversubscription` says.",
        json_schema_extra=without_default,
    )
    oversubscription: Positive | None = Field(
        default=None,
        description="How many times a rack's link to the spine fits into what the cards of its "
        "servers have together, in place of rack_bytes_per_s: 3 for 3:1.",
    )
    spine_latency_s: Amount = Field(
        default=0.0, description="What the way over the spine adds from rack to rack."
    )
    pcie_bytes_per_s: Positive = Field(
        default=16e9, description="PCIe root of a socket, each direction."
    )
    pcie_latency_s: Amount = Field(
        default=0.0, description="Between the memory of a server and one of its devices."
    )
    nvlink_bytes_per_s: Amount = Field(
        default=0.0,
        description="From a device to the others of its server; 0: no NVLink, PCIe serves instead.",
    )
    nvlink_latency_s: Amount = Field(default=0.0, description="From device to device over NVLink.")
    host_memory_bytes_per_s: Positive = Field(
        description="What all learners of a server together move in its memory as they average."
    )
    processors_per_server: Cap = Field(
        default=math.inf,
        description="Where learners compute on the processors of their server: how many of them do "
        "so at full speed at a time. Left out: each has a device of its own.",
        json_schema_extra=without_default,
    )
    message_work_s: Amount = Field(
        default=0.0,
        description="Where processors are shared, what a message takes of one at either end.",
    )
    host_thread_bytes_per_s: Cap = Field(
        default=math.inf,
        description="The most that one of them moves there.",
        json_schema_extra=without_default,
    )
    socket_bytes_per_s: Cap = Field(
        default=math.inf,
        description="The most that one connection between two learners moves.",
        json_schema_extra=without_default,
    )
    io_thread_bytes_per_s: Cap = Field(
        default=math.inf,
        description="The most that a learner's connections together move, each direction.",
        json_schema_extra=without_default,
    )
    tcp_initial_window_bytes: Amount = Field(
        default=0.0,
        description="Of a connection between servers, which slow start doubles each round trip; 0: "
        "no slow start, 14.6e3: ten segments, as RFC 6928 says.",
    )
    tcp_restart_s: Amount = Field(
        default=0.2,
        description="Idle time, beside a round trip, after which a connection starts slowly again.",
    )
    message_overhead_s: Amount = Field(
        default=0.0,
        description="Software cost of one message between learners, before its first byte moves.",
    )
    collective_launch_s: Amount = Field(
        default=8.4e-6, description="Software cost of one collective call."
    )
    collective_network_hop_s: Amount = Field(
        default=14e-6,
        description="Of one step of a collective between servers, beside the links' latency.",
    )
    collective_bytes_per_s: Cap = Field(
        default=math.inf,
        description="The most that a server sends over the network in a collective.",
        json_schema_extra=without_default,
    )
    collectives: Collectives = Field(
        default_factory=Collectives, description="How the library does collectives."
    )
    device: Device = Field(description="What computes a learner's gradients.")
    fitted: dict[str, Fitted] | None = Field(
        default=None,
        description="For each key of this table whose value was fitted to measurements: by which "
        "calibration, and to what.",
    )

    @model_validator(mode="after")
    def _sized(self) -> Self:
        if self.servers_as_needed and self.gpus_per_server is None:
            raise ValueError("has as many servers as needed, and no gpus_per_server")
        return self

    @field_validator("rack_bytes_per_s", "spine_latency_s", "oversubscription")
    @classmethod
    def _between_racks(cls, value: float | None, info: ValidationInfo) -> float | None:
        # A key that is itself wrong is not among the data, and reported already.
        racks = info.data.get("servers_per_rack", 1)
        if racks is None and value not in _NO_SPINE:
            raise ValueError("there are no racks: set servers_per_rack")
        given = info.data.get("rack_bytes_per_s", math.inf)
        if info.field_name == "oversubscription" and value is not None and given < math.inf:
            raise ValueError("rack_bytes_per_s is given as well: leave one of the two out")
        return value

    @model_validator(mode="after")
    def _marked(self) -> Self:
        strange = sorted((self.fitted or {}).keys() - self.fitted_values().keys())
        if strange:
            raise ValueError(f"marks {strange[0]!r} as fitted, which is none of its numbers")
        return self

    def fitted_values(self) -> dict[str, float]:
        """The values that were fitted, by dotted key."""
        described = self.model_dump(exclude_none=True)
        found = {key: lookup(described, key) for key in self.fitted or {}}
        return {key: value for key, value in found.items() if isinstance(value, int | float)}


_OF_THE_DESCRIPTION = {
    "file",
    "title",
    "source",
    "collectives",
    "device",
    "fitted",
    "price_per_server_hour",
    "servers_as_needed",
    "oversubscription",
}
"""Keys that the simulator's cluster has no use for."""


class Cluster(ClusterDescription):
    """The cluster of a run: a description by `file`, inline keys, or inline keys over a file's."""

    file: Name | None = Field(
        default=None,
        description="A cluster description that the other keys are laid over: a path relative to "
        "the scenario's file, or a name in topologies/.",
    )

    def fields(self, learners: int) -> dict[str, Any]:
        """What the simulator's cluster is made of: everything but texts and the device."""
        gpus = self.gpus_per_server or -(-learners // self.servers)
        servers = -(-learners // gpus) if self.servers_as_needed else self.servers
        return {
            **self.model_dump(exclude=_OF_THE_DESCRIPTION),
            "servers": servers,
            "gpus_per_server": gpus,
            "rack_bytes_per_s": self._rack_bytes_per_s(),
        }

    def _rack_bytes_per_s(self) -> float:
        if self.oversubscription is None or self.servers_per_rack is None:
            return self.rack_bytes_per_s
        return self.servers_per_rack * self.nic_bytes_per_s / self.oversubscription

    def device_fields(self) -> dict[str, Any]:
        """What was said of the device's speed; what was left out is absent."""
        return self.device.model_dump(exclude_none=True, exclude={"memory_bytes"})
