"""Examination: everything there is to find out about a topology in a setting.

Owns which figures are worked out, in which order, and what is too large to be tried. Must not know
when they are good: that is for the verdict.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dualrt.advice.loads import loads, traffic
from dualrt.advice.report import Demand, Report
from dualrt.advice.setting import Setting
from dualrt.advice.shape import Shape, outline, shape_of, shape_of_ways
from dualrt.advice.trial import Pace, affordable_rounds, pace
from dualrt.advice.verdict import judged, protocols
from dualrt.core.errors import TopologyError
from dualrt.topology import one_sided, spectrum
from dualrt.topology.schedules import astray, flaw, lopsided

if TYPE_CHECKING:
    from dualrt.topology import Topology
    from dualrt.topology.weights import Sparse

TRIED = 512
"""Learners up to which a trial is run: each message carries a count for every learner."""

TRIAL_STEPS = 16
TRIAL_MESSAGES = 8_000
RACKED_MESSAGES = 3_000
"""Where racks share a spine, every flow bears on every other, and a message costs ten times as
much."""


def examine(topology: Topology, setting: Setting, demand: Demand | None = None) -> Report:
    """Find out everything about a topology in a setting, a trial included."""
    messages = traffic(topology.schedule)
    shape = shape_of_ways(messages) if topology.pushes else shape_of(topology.schedule, messages)
    return _examined(topology, setting, demand or Demand(), messages, shape, trial=True)


def glance(topology: Topology, setting: Setting, demand: Demand | None = None) -> Report:
    """The same for a topology known to be connected: no trial, no distances, no cuts."""
    messages = traffic(topology.schedule)
    shape = outline(topology.schedule, messages)
    return _examined(topology, setting, demand or Demand(), messages, shape, trial=False)


def _examined(
    topology: Topology,
    setting: Setting,
    demand: Demand,
    messages: Sparse,
    shape: Shape,
    *,
    trial: bool,
) -> Report:
    schedule = topology.schedule
    wrong = flaw(schedule)
    fair = wrong is None
    uneven = lopsided(schedule) if fair and not topology.pushes else None
    second = None
    if fair or topology.pushes or astray(schedule) is None:
        second = spectrum.second_eigenvalue(schedule) if shape.connected else 1.0
    rounds = None if second is None else spectrum.consensus_rounds(schedule, second)
    sent = np.asarray(messages.sum(axis=1)).reshape(-1)
    used = loads(messages, setting)
    busy_s = used[0].busy_s if used else 0.0
    measured = None
    runs = topology.pushes or (fair and uneven is None)
    if trial and runs and shape.connected and schedule.learners <= TRIED:
        budget = RACKED_MESSAGES if setting.cluster.servers_per_rack else TRIAL_MESSAGES
        steps = affordable_rounds(float(sent.sum()), TRIAL_STEPS, budget)
        measured = _trial(topology, setting, demand, steps)
    report = Report(
        spec=topology.spec,
        mixing=topology.mixing,
        learners=schedule.learners,
        connected=shape.connected,
        cut_off=shape.cut_off,
        bipartite=shape.bipartite,
        protocols=protocols(bipartite=shape.bipartite, pushes=topology.pushes),
        pushes=topology.pushes,
        doubly_stochastic=fair,
        second_eigenvalue=second,
        spectral_gap=None if second is None else 1.0 - second,
        consensus_rounds=rounds,
        diameter=shape.diameter.value if shape.diameter else None,
        diameter_exact=shape.diameter.exact if shape.diameter else False,
        degree_min=shape.degrees[0],
        degree_max=shape.degrees[1],
        degree_mean=shape.degrees[2],
        messages_per_step=float(sent.mean()),
        messages_per_step_max=float(sent.max()),
        bytes_per_step=float(sent.mean()) * setting.model_bytes,
        bytes_per_step_max=float(sent.max()) * setting.model_bytes,
        model_bytes=setting.model_bytes,
        single_points=shape.single_points,
        min_cut=shape.cut.value if shape.cut else None,
        min_cut_exact=shape.cut.exact if shape.cut else False,
        cluster=setting.name,
        cluster_assumed=setting.assumed,
        cluster_fitted=setting.fitted,
        bottleneck=used[0] if used else None,
        links=tuple(used),
        gradient_s=setting.gradient_s,
        step_time_s=measured.step_s if measured else max(setting.gradient_s, busy_s),
        staleness_mean=measured.staleness_mean if measured else None,
        simulated=measured is not None,
        problems=(),
        passed=True,
        verdict="",
    )
    return judged(report, demand, wrong, uneven)


def _trial(topology: Topology, setting: Setting, demand: Demand, steps: int) -> Pace | None:
    """A few steps with the protocol that is asked for; None where it could not run."""
    if topology.plan is None or demand.protocol == "delta":
        return pace(topology.run(), setting, steps)
    try:
        return pace(one_sided(topology.plan()), setting, steps, "lock")
    except TopologyError:
        return None
