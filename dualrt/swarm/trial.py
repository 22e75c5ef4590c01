"""Trial: one seed, from its faults to the verdict.

Owns how a run with faults is made of a scenario and what its limits are. Must not know how many
there are, or how they are shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dualrt import api
from dualrt.core.errors import RunError
from dualrt.core.faults import Detection, Toll
from dualrt.observe.summary import Digests
from dualrt.scenario import Scenario
from dualrt.scenario.faults import Faults
from dualrt.swarm.draw import Field, faults, healed_s
from dualrt.swarm.invariants import Calm, Evidence, Finding, judge, precision
from dualrt.swarm.witness import Witness

TIMEOUTS_A_RUN = 20
"""A lost message is noticed in a 20th of the calm run, unless the scenario says otherwise."""

WAITS_A_TIMEOUT = 8
"""And in no less than so many of the longest waits of the calm run, as slow is not lost."""

TWICE_EVERY = 10
"""Seeds of which one is run twice, to compare what happened when."""

LOSING = ("crashes", "partitions", "links", "messages")
"""Keys of faults by which a learner or a message may be lost, or be as late as if it were: on a
link that is a hundred times as slow, one takes longer than a peer is waited for."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What all seeds of a swarm have in common."""

    scenario: Scenario
    kinds: tuple[str, ...]
    calm: Calm
    field: Field
    outlives_peers: bool


@dataclass(frozen=True, slots=True)
class Trial:
    """One seed: what went wrong on purpose, and what did not."""

    seed: int
    kinds: tuple[str, ...]
    """Keys of the faults that it had."""
    findings: tuple[Finding, ...]
    untold: Mapping[str, str]
    """Invariants that could not be checked, and why."""
    twice: bool
    """Whether it was run twice, to compare."""
    stopped: bool
    """Whether it stopped, as it may, because somebody was lost."""
    updates: int
    lost: int
    """Messages."""
    crashes: int
    scenario: str
    """The full scenario as TOML, all faults and defaults included."""


def calm(scenario: Scenario) -> tuple[Calm, Detection]:
    """Run the scenario as it is, and see what time scales it has.

    Raises UsageError for what cannot be simulated, RunError if it fails without added faults.
    """
    witness = Witness()
    summary = api.simulate(scenario, observer=witness).summary
    active = tuple(rank for rank in range(scenario.learners) if len(witness.times_s(rank)) > 0)
    elapsed_s = max((time_s for time_s, _ in witness.updates), default=summary.elapsed_s)
    fewest = min(len(witness.times_s(rank)) for rank in active)
    measured = Calm(
        elapsed_s,
        len(witness.updates),
        active,
        elapsed_s / fewest,
        summary.staleness.max or 0,
    )
    if scenario.faults.detect_s is not None:
        return measured, scenario.faults.detection(scenario.real.timeout_s)
    timeout_s = max(elapsed_s / TIMEOUTS_A_RUN, WAITS_A_TIMEOUT * witness.longest_wait_s)
    return measured, Detection.within(timeout_s)


def trial(plan: Plan, seed: int) -> Trial:
    """Run one seed and judge it; every `TWICE_EVERY`-th is run twice."""
    drawn = faults(seed, plan.kinds, plan.field)
    scenario = _with(plan.scenario, seed, drawn)
    evidence = _run(plan, scenario, drawn)
    findings, untold = judge(evidence)
    twice = seed % TWICE_EVERY == 0 and evidence.summary is not None
    if twice and _digests(_run(plan, scenario, drawn)) != _digests(evidence):
        findings.append(Finding("determinism", "two runs of this seed are not the same"))
    return Trial(
        seed=seed,
        kinds=tuple(key for key in drawn if key != "detect_s"),
        findings=tuple(findings),
        untold=untold,
        twice=twice,
        stopped=evidence.stopped,
        updates=len(evidence.witness.updates),
        lost=evidence.toll.lost if evidence.toll else 0,
        crashes=len(evidence.toll.crashed) if evidence.toll else 0,
        scenario=scenario.to_toml(),
    )


def _digests(evidence: Evidence) -> Digests | None:
    return None if evidence.summary is None else evidence.summary.digest


def _with(scenario: Scenario, seed: int, drawn: Mapping[str, object]) -> Scenario:
    """The scenario with another seed, and these faults beside its own."""
    own = scenario.faults.model_dump(exclude_none=True)
    both = {
        key: [*own.get(key, ()), *value] if isinstance(value, list) else value
        for key, value in drawn.items()
    }
    return scenario.model_copy(
        update={"seed": seed, "faults": Faults.model_validate({**own, **both})}
    )


def _run(plan: Plan, scenario: Scenario, drawn: Mapping[str, object]) -> Evidence:
    calm_run, field = plan.calm, plan.field
    # Whoever is left alone makes all updates alone; each half of a partition may make all of them.
    factors = [straggler.factor for straggler in scenario.faults.stragglers]
    witness = Witness(
        limit_s=3 * max([1.0, *factors]) * field.learners * calm_run.elapsed_s
        + 100 * field.timeout_s,
        limit_updates=(field.learners + 1) * (calm_run.updates + field.learners),
    )
    error: RunError | None = None
    outcome: api.Outcome | None = None
    try:
        outcome = api.simulate(scenario, observer=witness)
    except RunError as raised:
        error = raised
    toll = None if outcome is None else outcome.toll
    return Evidence(
        witness=witness,
        calm=calm_run,
        detection=Detection(field.detect_s, field.timeout_s),
        healed_s=max(healed_s(dict(drawn)), _own_healed_s(plan.scenario, toll or Toll())),
        loses=any(key in drawn for key in LOSING),
        crashes_alone=not (
            scenario.faults.partitions or scenario.faults.links or scenario.faults.messages
        ),
        outlives_peers=plan.outlives_peers,
        error=error,
        summary=None if outcome is None else outcome.summary,
        toll=toll,
        scale=None if outcome is None else precision(outcome.model),
    )


def _own_healed_s(scenario: Scenario, toll: Toll) -> float:
    """When the last fault was over that is not drawn: the scenario's own.

    Its stragglers are left out, which the calm run has as well.
    """
    own = scenario.faults
    ends_s = [one.end_s for one in (*own.partitions, *own.links)]
    ends_s += [one.end_s + 2 * one.delay_s for one in own.messages]
    if own.crashes:
        ends_s += [time_s for _, time_s in (*toll.crashed, *toll.rejoined)]
    return max(ends_s, default=0.0)
