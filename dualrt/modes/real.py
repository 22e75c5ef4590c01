"""The real mode: one process's part of a run, from its scenario to the outcome.

Owns the order of things in such a process. Must not know the simulator, nor who started the
process; torch and the real driver are imported when it runs.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from dualrt import keeping
from dualrt.composition import Composition
from dualrt.core.errors import UsageError
from dualrt.core.faults import Fault
from dualrt.core.records import Observer
from dualrt.modes.demands import (
    check_order,
    check_processes,
    check_reachable,
    check_real,
    crashes_alone,
    crashes_of,
)
from dualrt.modes.observers import OnProgress, Watch
from dualrt.modes.outcome import Outcome, keep, keep_scenario, summed_up
from dualrt.modes.threads import set_threads
from dualrt.observe.meter import Transport
from dualrt.observe.metrics import Target
from dualrt.observe.order import Header, OrderWriter
from dualrt.observe.remarks import remarks
from dualrt.observe.summary import FaultFigures
from dualrt.parting import Whole, gather
from dualrt.scenario import Scenario
from dualrt.settings import as_scenario_error
from dualrt.terms import terms

if TYPE_CHECKING:
    import torch

    from dualrt.real.rendezvous import Launch


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
    keep_order: bool = False,
) -> Outcome | None:
    """Run one process's part of a scenario for real; the outcome is rank 0's.

    `faults` come on top of the scenario's own, the same in all processes: crashes, after which
    nobody comes back. `observer` is told this process's records as well, and `metrics` show its
    figures. With `checkpoints` the state of all learners is kept now and then. With `keep_order`
    the order of the run is kept in `out`, so that it can be replayed.

    Raises UsageError for what cannot be run, StrandError when this learner raised, RunError when
    another process is gone, PreemptedError when the run was asked to end and has.
    """
    began_s = time.perf_counter()
    from dualrt.real.memory import keep_what_is_freed
    from dualrt.real.reports import REPORTS
    from dualrt.real.session import Session

    check_real(scenario, returns=REPORTS in os.environ)
    check_reachable(scenario, launch)
    if keep_order:
        check_order(scenario, out, resume=checkpoints is not None and checkpoints.resume)
    crashes = crashes_alone(faults, scenario.learners)
    check_processes(scenario, launch)
    composition = Composition(scenario, scenario.training.epochs, launch.learners_per_node)
    composition.check_trainable()
    device = _device(scenario, launch)
    keep_what_is_freed()
    workload = composition.workload(device=str(device))
    set_threads(scenario)
    learner = composition.learner(launch.rank, workload, launch.incarnation)
    conditions = terms(scenario, composition.layout, device)
    groups, nbytes = composition.layout.groups, learner.weights.nbytes
    if checkpoints is not None and launch.rank == 0 and not learner.seat.incarnation:
        keeping.check(scenario, composition.layout, checkpoints)
    with (
        ExitStack() as kept_open,
        Watch(
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
        writer: OrderWriter | None = None
        if keep_order and out is not None:
            writer = kept_open.enter_context(_order(scenario, launch, device, out))
        session.run(learner, watch.observer, slowdowns, crash, kept, absent, writer)
        if writer is not None:
            writer.ended(workload.digest(learner.weights.snapshot().vector).hex())
        whole = gather(session, learner, watch.tally, watch.digest, device, out)
    if whole is None:
        return None
    resumed = checkpoints is not None and checkpoints.resume
    summary, model = summed_up(
        composition,
        workload,
        whole.finals,
        whole.tally,
        mode="real",
        wall_s=time.perf_counter() - began_s,
        timing_digest=whole.timing_digest,
        faults=_losses(whole, scenario.learners, resumed=resumed),
    )
    told = remarks(whole.tally, faults=summary.faults is not None)
    outcome = Outcome(summary, whole.tally, model, (*composition.warnings(), *told))
    return keep(scenario, outcome, out)


def _order(scenario: Scenario, launch: Launch, device: torch.device, out: Path) -> OrderWriter:
    """Where the order of this process's learner is kept, beside the scenario that it is of."""
    if launch.rank == 0:
        out.mkdir(parents=True, exist_ok=True)
        keep_scenario(scenario, out)
    header = Header(
        rank=launch.rank,
        learners=launch.learners,
        learners_per_node=launch.learners_per_node,
        device=device.type,
        folder=str(scenario.folder.resolve()),
    )
    return OrderWriter(out, header)


def _device(scenario: Scenario, launch: Launch) -> torch.device:
    """Where this process computes. Raises ScenarioError if it is not there."""
    from dualrt.real.events import Events
    from dualrt.real.hardware import SHARED, choose_device, idle

    try:
        device = choose_device(scenario.real.device, launch)
    except UsageError as error:
        raise as_scenario_error(scenario, "real.device", error) from error
    gpus = idle(scenario.real.device, device)
    if gpus and launch.local_rank == launch.incarnation == 0:
        Events(launch.rank, launch.incarnation).warning(
            "gpus_idle",
            f"{launch.local_learners} processes of this host compute on its processor: its GPUs "
            f"({gpus}) are too few for one each; real.device = '{SHARED}' has processes share them",
            gpus=gpus,
            processes=launch.local_learners,
        )
    return device


def _losses(whole: Whole, learners: int, *, resumed: bool) -> FaultFigures | None:
    """What faults did, as far as those know who are left; None where nobody was lost."""
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
