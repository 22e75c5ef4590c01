"""The two modes as two functions: what the command line calls, and what a program can.

Owns the joining of composition, driver, observers and results; with the command line the only
place that knows both drivers. Neither torch nor a driver is imported before it is needed.
"""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from dualrt import keeping
from dualrt.composition import Composition
from dualrt.core.errors import RunError, UsageError
from dualrt.core.faults import Crash, Fault, Toll
from dualrt.core.learner import Layout, Learner
from dualrt.core.records import ChorusRow, Lane, Observer, Row, Span, Update
from dualrt.core.workload import JointWorkload, Workload
from dualrt.observe.digest import TimingDigest
from dualrt.observe.fan import fan
from dualrt.observe.meter import Meter, OneByOne, Transport
from dualrt.observe.metrics import Complain, Target, Watched
from dualrt.observe.recorder import SECONDS_PER_FLUSH, Recorder
from dualrt.observe.steady import Steadiness
from dualrt.observe.summary import FaultFigures, FittedKey, Summary, summarise
from dualrt.observe.tally import Tally
from dualrt.parting import Final, Whole, gather, hashed, imbalance
from dualrt.scenario import Scenario
from dualrt.settings import as_scenario_error
from dualrt.terms import terms
from dualrt.workloads.phantom import Phantom

if TYPE_CHECKING:
    from dualrt.real.rendezvous import Launch
    from dualrt.sim.cluster import ClusterSpec
    from dualrt.sim.device import DeviceSpec
    from dualrt.sim.driver import Simulator

LINKS_SHOWN = 8

TOGETHER_FROM = 16
"""Learners from which the simulator takes gradients together unless told otherwise. So runs that
also fit into as many processes keep to one by one, and with it to their bits."""

OnProgress = Callable[[float], None]
"""Told the share of the run that is done, from 0 to 1, now and then as updates are applied."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run gives: its figures, the tally they were made from, and the delivered model."""

    summary: Summary
    tally: Tally
    model: Any
    """The mean over replicas, in the workload's own vectors."""
    warnings: tuple[str, ...] = ()
    """What the scenario sets and this run had no use for."""
    toll: Toll | None = None
    """What faults did; None where nothing but stragglers was to go wrong."""


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
    cluster = _cluster(scenario)
    composition, workload = _composed(scenario)
    learners = _learners(composition, workload)
    device = device_spec(scenario)

    def enough() -> None:
        simulator.stop()

    steadiness = _steadiness(composition, enough)
    with _Watch(
        scenario,
        composition.epochs,
        out,
        on_progress,
        steadiness=steadiness,
        observer=observer,
        metrics=metrics,
    ) as watch:
        simulator = _simulator(composition, learners, cluster, device, watch.observer, faults)
        elapsed_s = simulator.run()
    present = simulator.present
    finals = [Final.of(learner) for _, learner in sorted(present.items()) if learner.is_replica]
    if not finals:
        raise RunError("every learner with weights of its own had crashed at the end")
    summary, model = _summed_up(
        composition,
        workload,
        finals,
        watch.tally,
        mode="simulated",
        wall_s=time.perf_counter() - began_s,
        timing_digest=watch.digest.hexdigest(),
        steadiness=steadiness,
        gradient_s=device.nominal_s(workload.gradient_cost),
        links=simulator.cluster.busiest(elapsed_s, LINKS_SHOWN),
        fitted=_fitted(scenario),
        faults=_fault_figures(simulator.toll, present, scenario.learners),
    )
    warnings = (*_warnings(composition, workload), *watch.complaints)
    outcome = Outcome(summary, watch.tally, model, warnings, toll=simulator.toll)
    return _kept(scenario, outcome, out)


def check(scenario: Scenario) -> tuple[str, ...]:
    """Make all that `simulate` would run, and run nothing; returns the warnings.

    Raises UsageError for what cannot be simulated.
    """
    cluster = _cluster(scenario)
    composition, workload = _composed(scenario)
    learners = _learners(composition, workload)
    _simulator(composition, learners, cluster, device_spec(scenario), fan(), ())
    return _warnings(composition, workload)


def _cluster(scenario: Scenario) -> ClusterSpec:
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


def _fitted(scenario: Scenario) -> list[FittedKey]:
    """Which settings of the cluster were fitted to measurements, in the order of its keys."""
    marks = scenario.cluster.fitted or {}
    return [
        FittedKey(f"cluster.{key}", value, marks[key].calibration, marks[key].points)
        for key, value in scenario.cluster.fitted_values().items()
    ]


def _composed(scenario: Scenario) -> tuple[Composition, Workload[Any]]:
    """What a simulation is made of; the workload is a phantom if only time is asked for."""
    _check_steady(scenario)
    whole = scenario.training.epochs
    epochs = min(whole, scenario.simulation.epochs or whole)
    composition = Composition(scenario, epochs, scenario.learners_per_server())
    workload = composition.workload()
    _set_threads(scenario)
    return composition, workload if scenario.simulation.numerics else Phantom.like(workload)


def _check_steady(scenario: Scenario) -> None:
    """Raise ScenarioError if a steady rate is asked for where there is none, or no use for it."""
    if scenario.simulation.steady_percent is None:
        return
    if scenario.simulation.numerics:
        raise scenario.error(
            "simulation.numerics",
            "a run that stops once its rate is steady trains no model to the end",
            "Use --set simulation.numerics=false, or no --steady.",
        )
    if scenario.faults.pass_by:
        raise scenario.error(
            "faults",
            "the rate is not the same throughout, as some begin or end while the run goes on",
            "Leave out their start_s and end_s, or use no --steady.",
        )


def _steadiness(composition: Composition, enough: Callable[[], None]) -> Steadiness | None:
    scenario, batches = composition.scenario, composition.layout.batches_per_update
    percent = scenario.simulation.steady_percent
    if percent is None:
        return None
    return Steadiness(max(1, scenario.learners // batches), percent, enough)


def _learners(composition: Composition, workload: Workload[Any]) -> list[Learner]:
    return [composition.learner(rank, workload) for rank in range(composition.scenario.learners)]


def _simulator(
    composition: Composition,
    learners: Sequence[Learner],
    cluster: ClusterSpec,
    device: DeviceSpec,
    observer: Observer,
    faults: Sequence[Fault],
) -> Simulator:
    from dualrt.sim.collectives import CollectiveSpec
    from dualrt.sim.driver import Machine, Simulator
    from dualrt.sim.faults import Adversity, FaultySimulator, check_faults

    machine = Machine(
        cluster,
        device,
        composition.scenario.seed,
        {learner.rank: composition.slowdowns(learner.rank) for learner in learners},
        CollectiveSpec(**composition.scenario.cluster.collectives.fields()),
    )
    # With numbers, learners in unison differ in more than their times.
    timing_only = isinstance(learners[0].seat.workload, Phantom)
    scenario = composition.scenario
    together = not timing_only and _together(scenario)
    faults = (*scenario.faults.build(cluster.gpus_per_server), *faults)
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


def _again(
    composition: Composition, workload: Workload[Any], rank: int, incarnation: int
) -> Learner:
    """Learner `rank` as it is after a crash."""
    return composition.learner(rank, workload, incarnation)


def _together(scenario: Scenario) -> bool:
    """Whether gradients are taken together where the workload offers it."""
    choice = scenario.simulation.gradients
    return choice == "together" or (choice == "auto" and scenario.learners >= TOGETHER_FROM)


def _warnings(composition: Composition, workload: Workload[Any]) -> tuple[str, ...]:
    """What the scenario sets and this simulation has no use for."""
    warnings, scenario = composition.warnings(), composition.scenario
    if scenario.simulation.gradients == "together" and not (
        isinstance(workload, JointWorkload) and workload.gradients_at_once > 1
    ):
        warnings.append(
            f"{scenario.source}: simulation.gradients has no effect: there is nothing that "
            f"workload {scenario.workload.name} would gain"
        )
    cut = scenario.cluster.collectives.granularity != "model"
    if cut and composition.layout.groups and len(workload.weights(0).tensors_bytes) == 1:
        warnings.append(
            f"{scenario.source}: cluster.collectives.granularity has no effect: workload "
            f"{scenario.workload.name} is one tensor"
        )
    return tuple(warnings)


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


def _losses(whole: Whole, learners: int, *, resumed: bool) -> FaultFigures | None:
    """The same of a real run, as far as those know who are left; None where nobody was lost."""
    down = tuple(rank for rank in range(learners) if rank not in whole.left)
    if not (down or whole.returns):
        return None
    return FaultFigures(
        crashes=whole.crashes,
        returns=whole.returns,
        down_at_the_end=down,
        messages_lost=None,
        messages_duplicated=None,
        messages_delayed=None,
        messages_reordered=None,
        waits_given_up=None,
        exchanges_abandoned=whole.abandoned,
        # What learners know of includes what was made before a checkpoint.
        updates_uncounted=None if resumed else whole.uncounted,
    )


def device_spec(scenario: Scenario) -> DeviceSpec:
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


def check_real(scenario: Scenario, *, returns: bool = True) -> None:
    """Raise ScenarioError for what only the simulator honours, so far.

    `returns` is whether whoever started this process starts learners again.
    """
    for key in scenario.faults.simulated_only():
        raise scenario.error(
            f"faults.{key}",
            "only the simulator honours it so far",
            f"Simulate it with `dualrt simulate`, or leave faults.{key} out.",
        )
    for number, crash in enumerate(scenario.faults.crashes):
        if crash.learner >= scenario.learners:
            raise scenario.error(
                f"faults.crashes.{number}.learner",
                f"there is no learner {crash.learner}",
                f"Name one of 0 to {scenario.learners - 1}.",
            )
        if not returns and crash.rejoin_after_s is not None:
            raise scenario.error(
                f"faults.crashes.{number}.rejoin_after_s",
                "only `dualrt train --local` starts a learner again",
                "Leave it out, or use --local.",
            )


def check_returns(scenario: Scenario, layout: Layout) -> None:
    """Raise ScenarioError if learners are to be started again that it cannot take back."""
    if layout.takes_back:
        return
    name = scenario.algorithm.name
    remedy = "Leave it out, or take adpsgd with exchange = 'delta'."
    if scenario.real.restarts:
        raise scenario.error(
            "real.restarts", f"{name} takes back no learner that is started again", remedy
        )
    for number, crash in enumerate(scenario.faults.crashes):
        if crash.rejoin_after_s is not None:
            raise scenario.error(
                f"faults.crashes.{number}.rejoin_after_s",
                f"{name} takes back no learner that is started again",
                remedy,
            )


def crashes_of(scenario: Scenario, rank: int, faults: Sequence[Crash] = ()) -> list[Crash]:
    """The crashes of one learner that the scenario asks for, in their order, and `faults`."""
    crashes = (*(crash.build() for crash in scenario.faults.crashes), *faults)
    return [crash for crash in crashes if crash.learner == rank]


def _crashes_alone(faults: Sequence[Fault], learners: int) -> list[Crash]:
    """Faults of a real run, as far as they can be had. Raises UsageError for the others."""
    for fault in faults:
        if not isinstance(fault, Crash):
            raise UsageError(
                f"{fault}: a real run can have crashes alone. Simulate it, or leave it out"
            )
        if not 0 <= fault.learner < learners:
            raise UsageError(
                f"{fault}: there is no learner {fault.learner}. Count them from 0 to {learners - 1}"
            )
        if fault.rejoin_after_s is not None:
            raise UsageError(
                f"{fault}: a process cannot start itself again. Leave rejoin_after_s out, or put "
                "the crash into the scenario, and use `dualrt train --local`"
            )
    return [fault for fault in faults if isinstance(fault, Crash)]


def check_reachable(scenario: Scenario, launch: Launch) -> None:
    """Raise ScenarioError if others would not find this process, or the host has too few ports."""
    if launch.local_learners < launch.learners and scenario.real.interface.startswith("127."):
        raise scenario.error(
            "real.interface",
            f"learners on other hosts cannot reach this one there, and only {launch.local_learners}"
            f" of {launch.learners} run here",
            "Name the interface of the network between the hosts, say eth0.",
        )
    ports = scenario.real.port_range
    if ports and len(ports) < launch.local_learners:
        raise scenario.error(
            "real.ports",
            f"{len(ports)} ports, and {launch.local_learners} learners on this host need one each",
            "Name a wider range.",
        )


def train(
    scenario: Scenario,
    launch: Launch,
    *,
    faults: Sequence[Fault] = (),
    observer: Observer | None = None,
    out: Path | None = None,
    on_progress: OnProgress | None = None,
    checkpoints: keeping.Wish | None = None,
    metrics: Sequence[Target] = (),
) -> Outcome | None:
    """Run one process's part of a scenario for real; the outcome is rank 0's.

    `faults` come on top of the scenario's own, the same in all processes: crashes, after which
    nobody comes back. `observer` is told this process's records as well, and `metrics` show its
    figures. With `checkpoints` the state of all learners is kept now and then.

    Raises UsageError for what cannot be run, StrandError when this learner raised, RunError when
    another process is gone, PreemptedError when the run was asked to end and has.
    """
    from dualrt.real.hardware import choose_device
    from dualrt.real.session import Session

    began_s = time.perf_counter()
    from dualrt.real.reports import REPORTS

    check_real(scenario, returns=REPORTS in os.environ)
    check_reachable(scenario, launch)
    crashes = _crashes_alone(faults, scenario.learners)
    if launch.learners != scenario.learners:
        raise scenario.error(
            "learners",
            f"but the number of processes is {launch.learners}",
            f"Start {scenario.learners}, with --local {scenario.learners} or torchrun, or use "
            f"--set learners={launch.learners}.",
        )
    composition = Composition(scenario, scenario.training.epochs, launch.learners_per_node)
    try:
        device = choose_device(scenario.real.device, launch)
    except UsageError as error:
        raise as_scenario_error(scenario, "real.device", error) from error
    workload = composition.workload(device=str(device))
    _set_threads(scenario)
    learner = composition.learner(launch.rank, workload, launch.incarnation)
    conditions = terms(scenario, composition.layout, device)
    groups, nbytes = composition.layout.groups, learner.weights.nbytes
    if checkpoints is not None and launch.rank == 0 and not learner.seat.incarnation:
        keeping.check(scenario, composition.layout, checkpoints)
    with (
        _Watch(
            scenario,
            composition.epochs,
            out,
            on_progress,
            launch,
            observer=observer,
            metrics=metrics,
        ) as watch,
        Session(launch, conditions, groups, nbytes) as session,
    ):
        watch.meter.attach(lambda: Transport(len(session.lost), session.rejected))
        slowdowns = composition.slowdowns(launch.rank)
        # Those that its dead selves have died of are over.
        crash = next(iter(crashes_of(scenario, launch.rank, crashes)[launch.incarnation :]), None)
        kept, absent = None, False
        if checkpoints is not None:
            kept, absent = keeping.begin(scenario, session, learner, checkpoints)
            if crash is not None and crash.at_step is not None and crash.at_step < learner.draws:
                # It has happened in the life that the checkpoint is of.
                crash = None
            checkpoints.preemption.heeded_by(session.preempt)
        session.run(learner, watch.observer, slowdowns, crash, kept, absent)
        whole = gather(session, learner, watch.tally, watch.digest, device, out)
    if whole is None:
        return None
    summary, model = _summed_up(
        composition,
        workload,
        whole.finals,
        whole.tally,
        mode="real",
        wall_s=time.perf_counter() - began_s,
        timing_digest=whole.timing_digest,
        faults=_losses(
            whole, scenario.learners, resumed=checkpoints is not None and checkpoints.resume
        ),
    )
    outcome = Outcome(summary, whole.tally, model, tuple(composition.warnings()))
    return _kept(scenario, outcome, out)


class _Watch:
    """The observers of a run, and the files and ports that they may hold open."""

    def __init__(
        self,
        scenario: Scenario,
        epochs: float,
        out: Path | None,
        on_progress: OnProgress | None,
        launch: Launch | None = None,
        steadiness: Steadiness | None = None,
        observer: Observer | None = None,
        metrics: Sequence[Target] = (),
    ) -> None:
        self.tally = Tally(scenario.learners)
        self.digest = TimingDigest()
        self.meter = Meter(scenario.learners, [launch.rank] if launch else range(scenario.learners))
        self.complaints: list[str] = []
        """Why a simulation's figures were shown no more."""
        rank, incarnation = (launch.rank, launch.incarnation) if launch else (0, 0)
        # Somebody may be watching a real run, and it may be killed.
        interval_s = math.inf if launch is None else SECONDS_PER_FLUSH
        listening: list[Observer] = [self.tally, self.digest]
        with ExitStack() as opened:
            if out is not None:
                recorder = Recorder(
                    out, rank=rank, incarnation=incarnation, seconds_per_flush=interval_s
                )
                listening.append(opened.enter_context(recorder))
            if metrics:
                listening += self._shown(metrics, opened, scenario.algorithm.name, launch)
            if observer is not None:
                listening.append(observer)
            if on_progress is not None:
                listening.append(_Progress(epochs, on_progress))
            if steadiness is not None:
                listening.append(steadiness)
            self.observer = fan(*listening)
            self._opened = opened.pop_all()

    def _shown(
        self, metrics: Sequence[Target], opened: ExitStack, algorithm: str, launch: Launch | None
    ) -> list[Observer]:
        """Open all that is to show figures; who is told records for its sake."""
        if launch is None:
            watched = Watched(algorithm, None, 0, lambda time_s: time_s, 0.0)
            complain: Complain = self.complaints.append
        else:
            from dualrt.real.events import Events

            rank = launch.rank
            events = Events(rank, launch.incarnation)
            watched = Watched(
                algorithm, rank, launch.local_rank, lambda _: time.time(), SECONDS_PER_FLUSH
            )
            complain = partial(events.warning, "metrics_stopped")
        shown: list[Observer] = [self.meter]
        for target in metrics:
            exporter = target.open(self.meter, watched, complain)
            opened.callback(exporter.close)
            if exporter.observer is not None:
                shown.append(exporter.observer)
            if launch is not None:
                said = f"learner {rank} shows its figures at {exporter.where}"
                events.info("metrics", said, where=exporter.where)
        return shown if launch else [OneByOne(one) for one in shown]

    def __enter__(self) -> _Watch:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()


class _Progress:
    """Tells how far the run is, from what updates say of the epoch."""

    def __init__(self, epochs: float, tell: OnProgress) -> None:
        self._epochs, self._tell = epochs, tell

    def span(self, span: Span) -> None:
        """Nothing: a run's course is counted in updates."""

    def update(self, time_s: float, update: Update) -> None:
        """Tell the share of all epochs."""
        self._tell(min(update.epoch / self._epochs, 1.0))

    def bulk_spans(self, lane: Lane, rows: Sequence[Row]) -> None:
        """Nothing, as for one."""

    def chorus_spans(self, lanes: Sequence[Lane], rows: Sequence[ChorusRow]) -> None:
        """Nothing, as for one."""

    def bulk_updates(self, applied: Sequence[tuple[float, Update]]) -> None:
        """Tell what the last says."""
        if applied:
            self.update(*applied[-1])


def _summed_up(
    composition: Composition,
    workload: Workload[Any],
    finals: Sequence[Final],
    tally: Tally,
    **figures: Any,
) -> tuple[Summary, Any]:
    """The same arithmetic for both modes, from the replicas' final weights."""
    scenario = composition.scenario
    vectors = [final.weights for final in finals]
    model, distance = workload.consensus(vectors)
    summary = summarise(
        tally,
        title=scenario.title,
        algorithm=scenario.algorithm.name,
        batch=workload.batch,
        samples_per_epoch=workload.samples_per_epoch,
        epochs_total=scenario.training.epochs,
        extrapolated=composition.epochs < scenario.training.epochs,
        evaluation=workload.evaluate(model),
        consensus_distance=distance,
        conservation_error=imbalance(workload, finals),
        numerics_digest=hashed(workload.digest(vector) for vector in vectors),
        **figures,
    )
    return summary, model


def _set_threads(scenario: Scenario) -> None:
    """Set torch's threads, if it is there: speed and bits depend on their number."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(scenario.real.threads_per_learner)


def _kept(scenario: Scenario, outcome: Outcome, out: Path | None) -> Outcome:
    """Write what was run and what came of it beside the records."""
    if out is not None:
        (out / "scenario.toml").write_text(scenario.to_toml())
        (out / "summary.json").write_text(outcome.summary.to_json() + "\n")
        (out / "tally.json").write_bytes(msgspec.json.encode(outcome.tally.to_builtins()))
        _keep_model(outcome.model, out / "model.safetensors")
    return outcome


def _keep_model(model: Any, file: Path) -> None:
    """Write the delivered model as the tensor "weights", if the workload has numbers.

    For a torch module that is all its parameters in their order:
    `torch.nn.utils.vector_to_parameters(weights, module.parameters())` puts them back.
    """
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(model, torch.Tensor):
        from safetensors.torch import save_file

        save_file({"weights": model.cpu()}, file)
