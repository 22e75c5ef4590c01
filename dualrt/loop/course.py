"""Course: what the caller of `join` says of the run, as a scenario.

Owns the translation and its checks, so that settings have the names, the meaning and the errors
that they have in a scenario's file. Must not know a model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from dualrt.algorithms import BUILT_IN as ALGORITHMS
from dualrt.algorithms.asgd import ASGD
from dualrt.algorithms.ssgd import SSGD
from dualrt.composition import Ensemble
from dualrt.core.errors import ScenarioError, UsageError
from dualrt.core.progress import Constant, Progress
from dualrt.scenario import Scenario, made
from dualrt.settings import check_settings, find_class

SOURCE = "dualrt.join"
"""What errors name instead of a file."""

COMPANIES = (2, 3, 4, 6, 8, 9, 12, 16, 25, 64)
"""Numbers of processes that a loop which runs alone may be written for: pairs, squares, cubes."""


@dataclass(frozen=True, slots=True)
class Pool:
    """How far a run goes, as far as the caller says it."""

    batch: int | None
    samples_per_epoch: int | None
    epochs: float | None

    def __post_init__(self) -> None:
        if (self.batch is None) != (self.samples_per_epoch is None):
            raise UsageError(
                f"{SOURCE}: an epoch is counted in samples; give batch and samples_per_epoch both"
            )
        if self.samples_per_epoch is not None and self.samples_per_epoch < 1:
            raise UsageError(
                f"{SOURCE}: samples_per_epoch = {self.samples_per_epoch!r}: a pool has 1 or more"
            )
        if self.epochs is not None and not self.counted:
            raise UsageError(
                f"{SOURCE}: epochs = {self.epochs!r} is counted in samples; give batch and "
                "samples_per_epoch too"
            )

    @property
    def counted(self) -> bool:
        """Whether samples are counted."""
        return self.batch is not None

    @property
    def samples_per_step(self) -> int:
        """1 where samples are not counted: then steps are."""
        return 1 if self.batch is None else self.batch

    @property
    def samples(self) -> int:
        """Samples of one epoch."""
        return 1 if self.samples_per_epoch is None else self.samples_per_epoch


@dataclass(frozen=True, slots=True)
class UntilLeft(Progress):
    """The course of a run that is over, for this learner, as soon as its loop was left."""

    left: Callable[[], bool]

    def finished(self, updates: int) -> bool:
        """Whether the agreed end has been reached, or the loop was left."""
        # Not super(): a class with slots is made anew, and is not the one written here.
        return self.left() or Progress.finished(self, updates)


def scenario(
    learners: int,
    pool: Pool,
    *,
    algorithm: str,
    topology: str,
    mixing: str,
    settings: Mapping[str, Any],
    seed: int,
    audit: bool,
    timeout_s: float,
    interface: str,
    ports: str,
    curve: str,
    keys: str,
    shared_memory: bool,
    wire: str,
    wire_fraction: float | None,
    checkpoint_every: str | None,
    checkpoints_kept: int | None,
) -> Scenario:
    """The scenario of a run whose workload is the caller's loop.

    Raises ScenarioError, which names the key and the remedy, for anything that cannot be.
    """
    return made(
        {
            "title": f"{algorithm} in a loop of one's own",
            "seed": seed,
            "learners": learners,
            "algorithm": {**settings, "name": algorithm},
            "workload": {"name": "own-loop", "batch": pool.samples_per_step},
            "topology": {"graph": topology, "mixing": mixing},
            # The optimizer has the rate; what a learner applies is what the optimizer did.
            "training": {
                "epochs": 1.0 if pool.epochs is None else pool.epochs,
                "schedule": {"kind": "constant", "rate": 1.0},
                "audit": audit,
                "wire": wire,
                **({} if wire_fraction is None else {"wire_fraction": wire_fraction}),
            },
            "real": {
                "timeout_s": timeout_s,
                "interface": interface,
                "ports": ports,
                "curve": curve,
                "keys": keys,
                "shared_memory": shared_memory,
                **({} if checkpoint_every is None else {"checkpoint_every": checkpoint_every}),
                **({} if checkpoints_kept is None else {"checkpoints_kept": checkpoints_kept}),
            },
        },
        SOURCE,
    )


def check_algorithm(scenario: Scenario) -> None:
    """Raise ScenarioError for an algorithm or a setting that a loop cannot have.

    Whatever the number of processes: what was written for many is often tried with one.
    """
    key, name = "algorithm.name", scenario.algorithm.name
    algorithm = find_class(scenario, key, name, ALGORITHMS)
    if issubclass(algorithm, ASGD):
        raise scenario.error(
            key,
            "its server applies other learners' gradients, and here each loop has an optimizer of "
            "its own",
            "Take adpsgd, h-adpsgd, sd-psgd, ssgd, delay-by-one, local-sgd, sgp, or your own as "
            "module:Class.",
        )
    settings = check_settings(scenario, "algorithm", algorithm)
    if issubclass(algorithm, SSGD) and settings.get("bucket_bytes"):
        raise scenario.error(
            "algorithm.bucket_bytes",
            "a loop of one's own gives its gradient when it is done, and all of it at once",
            "Leave it out.",
        )


def check_ensemble(scenario: Scenario) -> None:
    """Raise ScenarioError for what no number of processes can do: a graph that there is not, say.

    For a loop that runs alone, where no graph and no layout is made. Whatever depends on how many
    there are is told with other words for each number of them.
    """
    told: dict[str, ScenarioError] = {}
    for learners in COMPANIES:
        try:
            Ensemble(scenario.model_copy(update={"learners": learners}), learners)
        except ScenarioError as error:
            told[str(error)] = error
        else:
            return
    if len(told) == 1:
        raise next(iter(told.values()))


def progress(pool: Pool, batches_per_update: int, left: Callable[[], bool]) -> UntilLeft:
    """The course that the learner follows; without `epochs` no end is agreed."""
    return UntilLeft(
        epochs=float("inf") if pool.epochs is None else pool.epochs,
        samples_per_epoch=pool.samples,
        samples_per_update=pool.samples_per_step * batches_per_update,
        schedule=Constant(1.0),
        left=left,
    )
