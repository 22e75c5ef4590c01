"""One run in a value: which algorithm, on which graph and plan, on what machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dualrt.algorithms.adpsgd import ADPSGD
from dualrt.algorithms.asgd import ASGD
from dualrt.algorithms.delay_by_one import DelayByOne
from dualrt.algorithms.gossip import Gossiper
from dualrt.algorithms.hierarchical import HierarchicalADPSGD
from dualrt.algorithms.local_sgd import LocalSGD
from dualrt.algorithms.sdpsgd import SDPSGD
from dualrt.algorithms.ssgd import SSGD
from dualrt.core.learner import Learner
from dualrt.core.workload import Workload
from dualrt.sim.driver import Machine
from tests.support.exact import learners_of
from tests.support.simulated import machine

ALGORITHMS: tuple[tuple[type[Learner], Mapping[str, Any]], ...] = (
    (SSGD, {}),
    (SDPSGD, {}),
    (ADPSGD, {}),
    (DelayByOne, {}),
    (LocalSGD, {"period": 3}),
    (ASGD, {}),
    (HierarchicalADPSGD, {"learners_per_group": 2}),
    (ADPSGD, {"exchange": "lock"}),
    (ADPSGD, {"period": 3}),
    (ADPSGD, {"overlap": 4}),
    (HierarchicalADPSGD, {"learners_per_group": 2, "exchange": "lock"}),
    (HierarchicalADPSGD, {"learners_per_group": 2, "period": 2, "overlap": 3}),
)
"""Each algorithm once a way to exchange, with settings that differ from doing nothing; and those of
whose steps not all begin an exchange, or wait for one."""


def label(algorithm: type[Learner], settings: Mapping[str, Any]) -> str:
    """What to call an entry of `ALGORITHMS`."""
    words = [algorithm.__name__]
    if "exchange" in settings:
        words.append(settings["exchange"])
    if issubclass(algorithm, Gossiper) and "period" in settings:
        words.append(f"every {settings['period']}")
    if "overlap" in settings:
        words.append(f"{settings['overlap']} ahead")
    return " ".join(words)


@dataclass(frozen=True)
class Case:
    """One run, all of it."""

    algorithm: type[Learner]
    learners: int
    settings: Mapping[str, Any] = field(default_factory=dict)
    graph: str = "ring"
    mixing: str = "pairwise"
    seed: int = 0
    machine: Mapping[str, Any] = field(default_factory=dict)

    def cast(self, workload: Workload[Any], **seating: Any) -> list[Learner]:
        """The learners of this run."""
        return learners_of(
            self.algorithm,
            workload,
            self.learners,
            self.settings,
            graph=self.graph,
            mixing=self.mixing,
            seed=self.seed,
            **seating,
        )

    def where(self) -> Machine:
        """What they run on."""
        return machine(self.learners, seed=self.seed, **self.machine)
