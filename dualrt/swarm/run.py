"""Run: all seeds of a swarm, over as many cores as asked for.

Owns the order of things: load, look at the calm run, then one trial a seed. Must not know how
results are shown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from dualrt import api
from dualrt.composition import Composition
from dualrt.core.errors import UsageError
from dualrt.scenario import Scenario, load
from dualrt.swarm.draw import DISORDER, KINDS, NEEDS, Field
from dualrt.swarm.invariants import INVARIANTS
from dualrt.swarm.trial import Plan, Trial, calm, trial
from dualrt.sweep.engines import Loky


@dataclass(frozen=True, slots=True)
class Swarm:
    """What came of all seeds."""

    scenario: Scenario
    plan: Plan
    trials: tuple[Trial, ...]
    """In the order of seeds."""

    @property
    def failed(self) -> tuple[Trial, ...]:
        """Those that violate an invariant."""
        return tuple(one for one in self.trials if one.findings)

    @property
    def checked(self) -> dict[str, int]:
        """Of how many seeds each invariant could be told."""
        untold = Counter(name for one in self.trials for name in one.untold)
        checked = {name: len(self.trials) - untold[name] for name in INVARIANTS}
        return {**checked, "determinism": sum(one.twice for one in self.trials)}

    @property
    def faults(self) -> dict[str, int]:
        """How many seeds had each key of faults."""
        return dict(Counter(kind for one in self.trials for kind in one.kinds))

    def untold(self, invariant: str) -> str:
        """Why an invariant could mostly not be told; empty if it always could."""
        reasons = Counter(one.untold[invariant] for one in self.trials if invariant in one.untold)
        return reasons.most_common(1)[0][0] if reasons else ""


def swarm(
    file: str | Path,
    seeds: int,
    *,
    first_seed: int = 1,
    kinds: Sequence[str] = (),
    overrides: Sequence[str] = (),
    jobs: int = 2,
    on_progress: api.OnProgress | None = None,
) -> Swarm:
    """Simulate the scenario in `file` once a seed, from `first_seed` on, with random faults.

    `kinds` are those of `KINDS`, by default all that the algorithm is asked to bear. The scenario's
    own seed is that of the calm run, by which faults and limits are measured; so a seed's trial
    does not depend on which others there are.

    Raises UsageError for what cannot be simulated, or for an unknown kind; RunError if the scenario
    fails without added faults, or a process dies.
    """
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown:
        raise UsageError(
            f"--faults {','.join(kinds)}: there is no kind {unknown[0]!r}. "
            f"There are: {', '.join(KINDS)}"
        )
    scenario = _audited(load(file, overrides))
    plan = _plan(scenario, tuple(kinds))
    numbers = range(first_seed, first_seed + seeds)
    found: dict[int, Trial] = {}
    for done, (place, result) in enumerate(Loky(jobs).map(partial(trial, plan), numbers), 1):
        found[place] = result
        if on_progress is not None:
            on_progress(done / seeds)
    return Swarm(scenario, plan, tuple(found[place] for place in sorted(found)))


def _audited(scenario: Scenario) -> Scenario:
    """With the sum over learners watched, which is what swarms are for."""
    training = scenario.training.model_copy(update={"audit": True})
    return scenario.model_copy(update={"training": training})


def _plan(scenario: Scenario, kinds: tuple[str, ...]) -> Plan:
    layout = Composition(scenario, scenario.training.epochs, scenario.learners_per_server()).layout
    if scenario.learners < 2:
        raise scenario.error(
            "learners", "a swarm needs somebody who can be lost", "Use two or more."
        )
    bearable = tuple(k for k in KINDS if k not in NEEDS or getattr(layout, NEEDS[k]))
    refused = [kind for kind in kinds if kind in DISORDER and kind not in bearable]
    if refused:
        raise UsageError(
            f"--faults {','.join(kinds)}: {scenario.algorithm.name} as it is set does not bear "
            f"{refused[0]!r}. Leave it out, or take adpsgd with exchange = 'delta'"
        )
    measured, detection = calm(scenario)
    field = Field(
        learners=scenario.learners,
        servers=scenario.cluster_fields()["servers"],
        calm_s=measured.elapsed_s,
        detect_s=detection.detect_s,
        timeout_s=detection.timeout_s,
    )
    return Plan(scenario, kinds or bearable, measured, field, layout.takes_back)
