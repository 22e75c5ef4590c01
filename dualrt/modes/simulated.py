"""The simulated mode: from a scenario to the simulator, and from its run to the outcome.

Owns the order of things in a simulation, when it ends, and what it warns of. Must not know the real
driver, nor how the simulator is set up.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dualrt.composition import Composition
from dualrt.core.errors import RunError
from dualrt.core.faults import Fault, Toll, passes_by
from dualrt.core.learner import Learner
from dualrt.core.records import Observer
from dualrt.core.weights import Weights
from dualrt.core.workload import JointWorkload, Workload
from dualrt.modes.observers import OnProgress, Watch
from dualrt.modes.outcome import Outcome, keep, summed_up
from dualrt.modes.room import room, too_small
from dualrt.modes.simulator import cluster_of, device_of, simulator_of
from dualrt.modes.spared import spared
from dualrt.modes.threads import set_threads
from dualrt.observe.fan import fan
from dualrt.observe.metrics import Target
from dualrt.observe.remarks import remarks
from dualrt.observe.steady import Steadiness
from dualrt.observe.summary import FaultFigures, FittedKey, RoomFigures
from dualrt.parting import Final
from dualrt.scenario import Scenario
from dualrt.workloads.phantom import Phantom

LINKS_SHOWN = 8


def simulate(
    scenario: Scenario,
    *,
    faults: Sequence[Fault] = (),
    observer: Observer | None = None,
    out: Path | None = None,
    on_progress: OnProgress | None = None,
    metrics: Sequence[Target] = (),
) -> Outcome:
    """Run a scenario in the simulator.

    `faults` come on top of the scenario's own (`dualrt.faults`), and `observer` is told all records
    as well. With `out`, records, results and the delivered model are kept in that folder. With the
    key `simulation.steady_percent` it ends as soon as its rate is known that well. `metrics` show
    the figures of all learners together, in virtual time; records are passed on one by one then,
    which takes longer.

    Raises UsageError for what cannot be simulated, StrandError when a learner raised, DeadlockError
    when learners wait for one another, RunError when no replica is left.
    """
    began_s = time.perf_counter()
    cluster = cluster_of(scenario)
    composition, workload = _composed(scenario, faults)
    learners = _learners(composition, workload)
    device = device_of(scenario)

    def enough() -> None:
        simulator.stop()

    steadiness = _steadiness(composition, enough)
    with Watch(
        scenario,
        composition.epochs,
        out,
        on_progress,
        steadiness=steadiness,
        observer=observer,
        metrics=metrics,
    ) as watch:
        simulator = simulator_of(composition, learners, cluster, device, watch.observer, faults)
        elapsed_s = simulator.run()
    present = simulator.present
    # Those of a learner that is there: a vector more would be a whole model more.
    weights = learners[0].seat.weights
    memory = room(scenario, workload, weights)
    finals = [Final.of(learner) for _, learner in sorted(present.items()) if learner.is_replica]
    if not finals:
        raise RunError("every learner with weights of its own had crashed at the end")
    summary, model = summed_up(
        composition,
        workload,
        finals,
        watch.tally,
        mode="simulated",
        wall_s=time.perf_counter() - began_s,
        timing_digest=watch.digest.hexdigest(),
        steadiness=steadiness,
        gradient_s=device.nominal_s(workload.gradient_cost),
        # Where it was stopped, learners in unison have been told of ahead of the clock.
        elapsed_s=None if steadiness is not None and steadiness.reached else elapsed_s,
        links=simulator.links[:LINKS_SHOWN],
        servers=len({simulator.cluster.place(learner.rank).server for learner in learners}),
        price_per_server_hour=scenario.cluster.price_per_server_hour,
        fitted=_fitted(scenario),
        faults=_fault_figures(simulator.toll, present, scenario.learners),
        memory=memory,
    )
    warnings = (
        *_warnings(composition, workload, weights, memory),
        *spared(scenario, elapsed_s, simulator.toll, faults),
        *watch.complaints,
        *remarks(watch.tally, faults=summary.faults is not None),
    )
    outcome = Outcome(summary, watch.tally, model, warnings, toll=simulator.toll)
    return keep(scenario, outcome, out)


def check(scenario: Scenario) -> tuple[str, ...]:
    """Make all that `simulate` would run, and run nothing; returns the warnings.

    Raises UsageError for what cannot be simulated.
    """
    cluster = cluster_of(scenario)
    composition, workload = _composed(scenario)
    learners = _learners(composition, workload)
    simulator_of(composition, learners, cluster, device_of(scenario), fan(), ())
    weights = learners[0].seat.weights
    return _warnings(composition, workload, weights, room(scenario, workload, weights))


def _composed(
    scenario: Scenario, faults: Sequence[Fault] = ()
) -> tuple[Composition, Workload[Any]]:
    """What a simulation is made of; the workload is a phantom if only time is asked for."""
    _check_steady(scenario, faults)
    whole = scenario.training.epochs
    epochs = min(whole, scenario.simulation.epochs or whole)
    composition = Composition(scenario, epochs, scenario.learners_per_server())
    workload = composition.workload()
    set_threads(scenario)
    return composition, workload if scenario.simulation.numerics else Phantom.like(workload)


def _check_steady(scenario: Scenario, faults: Sequence[Fault]) -> None:
    """Raise ScenarioError if a steady rate is asked for where there is none, or no use for it."""
    if scenario.simulation.steady_percent is None:
        return
    if scenario.simulation.numerics:
        raise scenario.error(
            "simulation.numerics",
            "a run that stops once its rate is steady trains no model to the end",
            "Use --set simulation.numerics=false, or no --steady.",
        )
    if scenario.faults.pass_by or any(map(passes_by, faults)):
        raise scenario.error(
            "faults",
            "the rate is not the same throughout, as some begin or end while the run goes on",
            "Leave out their start_s and end_s, also of faults in code, or use no --steady.",
        )


def _steadiness(composition: Composition, enough: Callable[[], None]) -> Steadiness | None:
    scenario, batches = composition.scenario, composition.layout.batches_per_update
    percent = scenario.simulation.steady_percent
    if percent is None:
        return None
    return Steadiness(max(1, scenario.learners // batches), percent, enough)


def _learners(composition: Composition, workload: Workload[Any]) -> list[Learner]:
    return [composition.learner(rank, workload) for rank in range(composition.scenario.learners)]


def _warnings(
    composition: Composition,
    workload: Workload[Any],
    weights: Weights[Any],
    memory: RoomFigures | None,
) -> tuple[str, ...]:
    """What the scenario sets in vain here, and what does not fit its cluster."""
    warnings, scenario = composition.warnings(), composition.scenario
    if scenario.simulation.gradients == "together" and not (
        isinstance(workload, JointWorkload) and workload.gradients_at_once > 1
    ):
        warnings.append(
            f"{scenario.source}: simulation.gradients has no effect: there is nothing that "
            f"workload {scenario.workload.name} would gain"
        )
    cut = scenario.cluster.collectives.granularity != "model"
    if cut and composition.layout.groups and len(weights.tensors_bytes) == 1:
        warnings.append(
            f"{scenario.source}: cluster.collectives.granularity has no effect: workload "
            f"{scenario.workload.name} is one tensor"
        )
    small = too_small(scenario, memory)
    return (*warnings, small) if small else tuple(warnings)


def _fitted(scenario: Scenario) -> list[FittedKey]:
    """Which settings of the cluster were fitted to measurements, in the order of its keys."""
    marks = scenario.cluster.fitted or {}
    return [
        FittedKey(
            f"cluster.{key}", value, marks[key].calibration, marks[key].points, marks[key].rms_error
        )
        for key, value in scenario.cluster.fitted_values().items()
    ]


def _fault_figures(
    toll: Toll | None, present: Mapping[int, Learner], learners: int
) -> FaultFigures | None:
    if toll is None:
        return None
    return FaultFigures(
        crashes=len(toll.crashed),
        returns=len(toll.rejoined),
        down_at_the_end=tuple(rank for rank in range(learners) if rank not in present),
        messages_lost=toll.lost,
        messages_duplicated=toll.duplicated,
        messages_delayed=toll.delayed,
        messages_reordered=toll.reordered,
        waits_given_up=len(toll.given_up),
        exchanges_abandoned=sum(learner.abandoned for learner in present.values()),
    )
