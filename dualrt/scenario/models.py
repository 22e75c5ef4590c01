"""Models: the tables of the one file that describes a run.

Owns what a scenario can say, and what it leaves to defaults. Must not know the algorithms, the
workloads or the drivers: an algorithm's and a workload's own settings pass through unread, and
whoever builds these checks them, and complains through `Scenario.error`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, Field, PrivateAttr, field_validator

from dualrt.core.errors import ScenarioError
from dualrt.scenario import toml
from dualrt.scenario.cluster import Cluster
from dualrt.scenario.faults import Faults
from dualrt.scenario.intervals import Interval, interval
from dualrt.scenario.keys import lookup
from dualrt.scenario.origin import Origin
from dualrt.scenario.quantities import (
    Count,
    Flag,
    Index,
    Learners,
    Name,
    Ports,
    Positive,
    Samples,
    Table,
    Text,
    Threads,
    port_range,
)
from dualrt.scenario.training import Training


class Algorithm(Table):
    """The algorithm; all keys but `name` are its own settings."""

    model_config = ConfigDict(extra="allow")

    name: Name = Field(
        description="ssgd, sd-psgd, adpsgd, delay-by-one, h-adpsgd, sgp, asgd, local-sgd, or your "
        "own as module:Class."
    )

    @property
    def settings(self) -> dict[str, Any]:
        """The algorithm's own settings."""
        return dict(self.model_extra or {})


class Workload(Table):
    """What is learned; all keys but `name` and `batch` are the workload's own settings."""

    model_config = ConfigDict(extra="allow")

    name: Name = Field(
        description="phantom, acoustic-phantom, module-phantom, quadratic, digits, speech, "
        "or your own as module:Class."
    )
    batch: Samples = Field(description="Samples of one learner's mini-batch.")

    @property
    def settings(self) -> dict[str, Any]:
        """The workload's own settings."""
        return dict(self.model_extra or {})


class Topology(Table):
    """Who averages with whom, for algorithms that gossip."""

    graph: Name = Field(
        default="ring",
        description="A family (ring, complete, torus:4x4, ...) or the path of a graph file, "
        "relative to the scenario's.",
    )
    mixing: Name = Field(
        default="pairwise",
        description="pairwise: one neighbour a round, in turn; neighbours: all of them, with "
        "Metropolis-Hastings shares; random-ring: the two on a freshly shuffled ring; "
        "random-pairs: fresh random pairs; max-degree, uniform, fastest, fdla: all neighbours, "
        "with other shares; matrix:FILE: your own, relative to the scenario's file.",
    )


class Simulation(Table):
    """How `dualrt simulate` runs it."""

    numerics: Flag = Field(
        default=True, description="Compute every gradient; false: timing only, much faster."
    )
    gradients: Literal["auto", "together", "one-by-one"] = Field(
        default="auto",
        description="How gradients of learners that compute at the same time are evaluated: of a "
        "small model together, which is faster and may differ from one by one in the last bits; "
        "auto: together from 16 learners.",
    )
    epochs: Positive | None = Field(
        default=None,
        description="Simulate no more than this many epochs and extrapolate the hours, which the "
        "results say; left out: all of them.",
    )
    steady_percent: Positive | None = Field(
        default=None,
        description="Stop as soon as the 95 % confidence interval of the rate is within this many "
        "per cent either side, and extrapolate, which the results say; timing only. Left out: "
        "never; `--steady` is 0.5.",
    )


class Real(Table):
    """How `dualrt train` runs it."""

    timeout_s: Positive = Field(
        default=60.0, description="Longest wait for a peer; all other time limits derive from it."
    )
    interface: Name = Field(
        default="127.0.0.1", description="Address or name of the network interface to listen on."
    )
    ports: Ports = Field(
        default="",
        description="Ports that learners may listen at for gossip, as FIRST-LAST, 20000-20100; a "
        "host needs one for each of its learners. Left out: the system chooses.",
    )
    curve: Literal["auto", "on", "off"] = Field(
        default="auto",
        description="Whether gossip is encrypted, and for holders of the run's keys alone; auto: "
        "beyond loopback, and wherever keys are given.",
    )
    keys: Text = Field(
        default="",
        description="The file with the run's keys, as `dualrt keys` makes it; left out: that of "
        "the environment variable DUALRT_KEYS.",
    )
    shared_memory: bool = Field(
        default=True,
        description="Learners on one host send models to each other through shared memory.",
    )
    restarts: Index = Field(
        default=0,
        description="How often `--local` starts a learner again that has died; it rejoins the "
        "others if its algorithm can go on without it.",
    )
    checkpoint_every: Name = Field(
        default="10 min",
        description="How often `--checkpoint` keeps the state of all learners: a number of steps, "
        "s, min or h, as in '100 steps'.",
    )
    checkpoints_kept: Count = Field(
        default=2, description="How many checkpoints stay; older ones are removed."
    )
    threads_per_learner: Threads = Field(
        default=1, description="CPU threads for a learner; learners x threads should fit the cores."
    )
    device: Literal["auto", "cpu", "cuda", "cuda-shared"] = Field(
        default="auto",
        description="Where gradients are computed; auto: on a GPU if each process can have one. "
        "cuda-shared: on the host's GPUs, several processes to one where they are fewer.",
    )

    @property
    def port_range(self) -> range:
        """The ports; empty where the system chooses."""
        return port_range(self.ports)

    @field_validator("checkpoint_every")
    @classmethod
    def _is_an_interval(cls, text: str) -> str:
        interval(text)
        return text

    def checkpoint_interval(self) -> Interval:
        """`checkpoint_every`, read."""
        return interval(self.checkpoint_every)


class Scenario(Table):
    """One run, in either mode. Made by `load`, which also knows where each value came from."""

    title: Name = Field(description="The run in a few words.")
    about: Text = Field(default="", description="What it should show.")
    seed: Index = Field(default=1, description="All randomness comes from this number.")
    learners: Learners = Field(
        description="Number of learners: replicas of the model; at most 65,536."
    )
    algorithm: Algorithm = Field(description="The algorithm, with its own settings.")
    workload: Workload = Field(description="Model and data, with their own settings.")
    topology: Topology = Field(
        default_factory=Topology, description="Who averages with whom, for algorithms that gossip."
    )
    training: Training = Field(description="How long, at what learning rate.")
    cluster: Cluster = Field(
        description="The machines that the simulator simulates; left out: one server like the "
        "desk of topologies/desk.toml, with a device for each learner. Real runs ignore it."
    )
    simulation: Simulation = Field(
        default_factory=Simulation, description="How `dualrt simulate` runs it."
    )
    faults: Faults = Field(default_factory=Faults, description="What goes wrong, in either mode.")
    real: Real = Field(default_factory=Real, description="How `dualrt train` runs it.")

    _origin: Origin = PrivateAttr(default_factory=lambda: Origin(Path("scenario")))

    def model_post_init(self, context: object, /) -> None:
        """Remember where the values came from, if whoever validates says so."""
        if isinstance(context, Origin):
            self._origin = context

    @property
    def source(self) -> str:
        """The file that was loaded."""
        return str(self._origin.file)

    @property
    def folder(self) -> Path:
        """Where relative paths in the scenario start."""
        return self._origin.folder or self._origin.file.parent

    def given_keys(self) -> tuple[str, ...]:
        """Dotted keys of the values that the file or the command line set; the rest are defaults.

        A cluster description is not looked into: its keys count as given by `cluster.file`.
        """
        return self._origin.given

    def error(self, key: str, problem: str, remedy: str) -> ScenarioError:
        """The error to raise when the value at a dotted key turns out to be impossible.

        `problem` continues the sentence "<key> = <value>: " without a full stop; `remedy` is a
        sentence of its own.
        """
        return self._origin.error(key, lookup(self.effective(), key), problem, remedy)

    def effective(self) -> dict[str, Any]:
        """All options with their values, defaults and the cluster's description included.

        Options that are left out and have no value are absent.
        """
        return self.model_dump(exclude_none=True, exclude={"cluster": {"file"}})

    def to_toml(self) -> str:
        """The effective options as a scenario file that stands by itself."""
        return toml.dumps(self.effective())

    def cluster_fields(self) -> dict[str, Any]:
        """What the simulator's cluster is made of, the device apart."""
        return self.cluster.fields(self.learners)

    def learners_per_server(self) -> int | None:
        """Learners of each simulated server, which fill one after another; None if not alike."""
        most: int = self.cluster_fields()["gpus_per_server"]
        if self.learners <= most:
            return self.learners
        return None if self.learners % most else most
