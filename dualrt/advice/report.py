"""Report: what a topology is, what it will do on a cluster, and whether it should be used.

Owns the figures that `dualrt topology check` prints, their JSON names, and the conditions under
which a topology is refused. Must not know how they are shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from dualrt.advice.loads import Load, loads, traffic
from dualrt.advice.setting import Setting
from dualrt.advice.trial import Pace, affordable_rounds, pace
from dualrt.core.errors import TopologyError
from dualrt.observe import units
from dualrt.topology import one_sided, spectrum, structure
from dualrt.topology.schedules import astray, flaw, lopsided
from dualrt.topology.structure import Bound

if TYPE_CHECKING:
    from dualrt.topology import Topology
    from dualrt.topology.schedules import Schedule
    from dualrt.topology.weights import Sparse

Protocol = Literal["delta", "lock"]

ROUNDS = 10_000
"""Most rounds to consensus that pass by default: a few epochs' worth of steps on 64 learners."""

LONGER = 1.05
"""A step that takes this many gradients does not hide its averaging."""

TRIED = 512
"""Learners up to which a trial is run: each message carries a count for every learner."""

TRIAL_STEPS = 16
TRIAL_MESSAGES = 8_000
RACKED_MESSAGES = 3_000
"""Where racks share a spine, every flow bears on every other, and a message costs ten times as
much."""


@dataclass(frozen=True, slots=True)
class Demand:
    """What a topology must satisfy."""

    protocol: Protocol = "delta"
    rounds: int = ROUNDS


@dataclass(frozen=True, slots=True)
class Report:
    """The figures of one topology; its fields are the keys of its JSON, None is null.

    Figures of the graph are those of all rounds together: of a random schedule, of the complete
    graph, because any two learners meet in time.
    """

    spec: str
    mixing: str
    learners: int
    connected: bool
    """Jointly over a period."""
    bipartite: bool
    protocols: Mapping[str, str]
    """What being bipartite means for each way to exchange."""
    pushes: bool
    """Whether weights are pushed along edges of one way: then columns of shares sum to 1, and
    push-sum weights make good that rows may not."""
    doubly_stochastic: bool
    second_eigenvalue: float | None
    """What a round leaves of a disagreement, in the long run; None if the shares of learners that
    exchange move their mean."""
    spectral_gap: float | None
    consensus_rounds: int | None
    """To a thousandth; None if never."""
    diameter: int | None
    """None if not connected."""
    diameter_exact: bool
    """If not, `diameter` is a lower bound."""
    degree_min: int
    degree_max: int
    degree_mean: float
    messages_per_step: float
    """That a learner sends in a step, on average over learners and rounds."""
    messages_per_step_max: float
    """Of the learner that sends most."""
    bytes_per_step: float
    bytes_per_step_max: float
    model_bytes: int
    single_points: tuple[int, ...]
    """Learners whose loss would split the graph."""
    min_cut: int | None
    """Edges whose loss would split it, at least."""
    min_cut_exact: bool
    """If not, `min_cut` is an upper bound."""
    cluster: str
    cluster_assumed: bool
    cluster_fitted: tuple[str, ...]
    """What of the cluster is no description, but was fitted to measurements."""
    bottleneck: Load | None
    """The link that a step keeps busy longest; None if nothing is sent."""
    links: tuple[Load, ...]
    gradient_s: float
    step_time_s: float
    """Of AD-PSGD, or of SGP where weights are pushed: from the trial, else the longer of the
    gradient and the bottleneck."""
    staleness_mean: float | None
    """From the trial; None where none was run."""
    simulated: bool
    """Whether a trial was run: beyond `TRIED` learners it is not."""
    problems: tuple[str, ...]
    passed: bool
    verdict: str
    better: Mapping[str, Any] | None = None
    """The nearest better topology: its spec and main figures."""
    soonest: Mapping[str, Any] | None = None
    """The better one whose learners agree soonest, if it is another and that is clearly sooner."""

    def to_json(self) -> dict[str, Any]:
        """All of it as plain values."""
        return asdict(self)


def examine(topology: Topology, setting: Setting, demand: Demand | None = None) -> Report:
    """Find out everything about a topology in a setting, a trial included."""
    messages = traffic(topology.schedule)
    shape = _directed(messages) if topology.pushes else _shape(topology.schedule, messages)
    return _judged(topology, setting, demand or Demand(), messages, shape, trial=True)


def glance(topology: Topology, setting: Setting, demand: Demand | None = None) -> Report:
    """The same for a topology known to be connected: no trial, no distances, no cuts."""
    messages = traffic(topology.schedule)
    shape = _outline(topology.schedule, messages)
    return _judged(topology, setting, demand or Demand(), messages, shape, trial=False)


def _judged(
    topology: Topology,
    setting: Setting,
    demand: Demand,
    messages: Sparse,
    shape: _Shape,
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
        bipartite=shape.bipartite,
        protocols=_protocols(shape.bipartite, topology),
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
    problems = (
        *_problems_of_shares(report, wrong, uneven),
        *_problems(report, demand),
    )
    judged = replace(report, problems=problems, passed=not problems)
    return replace(judged, verdict=_verdict(judged))


def _trial(topology: Topology, setting: Setting, demand: Demand, steps: int) -> Pace | None:
    """A few steps with the protocol that is asked for; None where it could not run."""
    if topology.plan is None or demand.protocol == "delta":
        return pace(topology.run(), setting, steps)
    try:
        return pace(one_sided(topology.plan()), setting, steps, "lock")
    except TopologyError:
        return None


@dataclass(frozen=True, slots=True)
class _Shape:
    """What there is to say of the edges of all rounds together."""

    connected: bool
    bipartite: bool
    degrees: tuple[int, int, float]
    diameter: Bound | None = None
    cut: Bound | None = None
    single_points: tuple[int, ...] = ()


def _outline(schedule: Schedule, messages: Sparse) -> _Shape:
    if schedule.period is None:
        return _anyone(schedule.learners)
    joined = _joined(messages)
    return _Shape(True, structure.sides(joined) is not None, _degrees(joined))


def _anyone(learners: int) -> _Shape:
    """The complete graph."""
    others = learners - 1
    across = Bound(min(1, others), True)
    return _Shape(True, learners <= 2, (others, others, others), across, Bound(others, True))


def _degrees(joined: Sparse) -> tuple[int, int, float]:
    degree = np.diff(joined.indptr)
    return int(degree.min()), int(degree.max()), float(degree.mean())


def _shape(schedule: Schedule, messages: Sparse) -> _Shape:
    learners = schedule.learners
    if schedule.period is None:
        return _anyone(learners)
    joined = _joined(messages)
    degrees = _degrees(joined)
    if not structure.is_connected(joined):
        return _Shape(False, _every_part_bipartite(joined), degrees)
    bipartite = structure.sides(joined) is not None
    if learners == 1:
        return _Shape(True, True, degrees, Bound(0, True), Bound(0, True))
    across = structure.diameter(joined)
    return _Shape(
        True,
        bipartite,
        degrees,
        across,
        structure.least_cut(joined, across.value),
        tuple(structure.single_points(joined)),
    )


def _directed(messages: Sparse) -> _Shape:
    """Of edges that go one way; degrees count those with whom a learner shares one, either way."""
    joined = _joined(messages)
    degrees = _degrees(joined)
    learners = messages.shape[0]
    if not structure.is_strongly_connected(messages):
        return _Shape(False, _every_part_bipartite(joined), degrees)
    bipartite = structure.sides(joined) is not None
    if learners == 1:
        return _Shape(True, True, degrees, Bound(0, True), Bound(0, True))
    return _Shape(
        True,
        bipartite,
        degrees,
        structure.diameter_of_ways(messages),
        structure.least_cut_of_ways(messages),
        tuple(structure.single_points_of_ways(messages)),
    )


def _joined(messages: Sparse) -> Sparse:
    """The adjacency of all rounds together, both ways; an edge without a share is none."""
    from scipy.sparse import csr_matrix

    joined = csr_matrix((messages + messages.T) > 0, dtype=np.float64)
    joined.sort_indices()
    return joined


def _every_part_bipartite(joined: Sparse) -> bool:
    import networkx as nx

    return bool(nx.is_bipartite(nx.from_scipy_sparse_array(joined)))


def _protocols(bipartite: bool, topology: Topology) -> dict[str, str]:
    if topology.pushes:
        return {"push": "safe: weights go one way and nobody waits for an answer"}
    lock = (
        "safe: one class initiates and the other responds, so no cycle of waiting can close"
        if bipartite
        else "deadlocks: on an odd cycle learners can wait for one another in a circle"
    )
    return {"delta": "safe: no lock is held across the network, on any graph", "lock": lock}


def _problems_of_shares(report: Report, wrong: str | None, uneven: str | None) -> list[str]:
    if wrong is not None and not report.pushes:
        return [
            f"{report.mixing} shares are not doubly stochastic here: {wrong}. Use metropolis",
        ]
    if uneven is not None:
        return [f"an exchange has one share for both, but {uneven}. Use metropolis"]
    return []


def _problems(report: Report, demand: Demand) -> list[str]:
    found = []
    if not report.connected:
        apart = "never hear of" if report.pushes else "never agree with"
        found.append(f"it is not connected: some learners {apart} the others")
    if demand.protocol == "lock" and not report.bipartite:
        found.append("it is not bipartite: the lock-based protocol can deadlock on it")
    if report.connected and report.second_eigenvalue is not None:
        rounds = report.consensus_rounds
        if rounds is None:
            found.append(
                "disagreement never dies out: an eigenvalue beside the first has modulus 1 or more"
            )
        elif rounds > demand.rounds:
            found.append(
                f"it mixes slowly: {rounds:,} rounds to a thousandth, more than {demand.rounds:,}"
            )
    busiest = report.bottleneck
    if not report.cluster_assumed and busiest and busiest.busy_s > report.gradient_s:
        found.append(
            f"link {busiest.link} is busy for {units.seconds(busiest.busy_s)} a step, and the "
            f"gradient that it should hide behind takes {units.seconds(report.gradient_s)}"
        )
    return found


def _verdict(report: Report) -> str:
    if report.problems:
        return f"{report.spec} fails: {'; '.join(report.problems)}."
    notes = [
        f"consensus to a thousandth in {units.counted(report.consensus_rounds, 'round')}",
        _waiting(report),
    ]
    busiest = report.bottleneck
    if busiest is not None:
        busy = f"the busiest link {busiest.link} takes {units.seconds(busiest.busy_s)} a step"
        notes.append(f"{busy}, {_against_the_gradient(report, busiest)}")
    if report.single_points:
        lost = report.single_points
        which = f"learner {lost[0]}" if len(lost) == 1 else f"any of {len(lost)} learners"
        notes.append(f"the loss of {which} would split it")
    return f"{report.spec} passes: {'; '.join(notes)}."


def _waiting(report: Report) -> str:
    if report.pushes:
        return "no deadlock, as nothing is answered"
    return "no deadlock" if report.bipartite else "no deadlock with the delta exchange"


def _against_the_gradient(report: Report, busiest: Load) -> str:
    """Whether averaging hides behind the gradient, which is what it should do."""
    gradient = units.seconds(report.gradient_s)
    if busiest.busy_s > report.gradient_s:
        # A cluster that was named fails then; one that is assumed refuses nothing.
        return (
            f"longer than the gradient's {gradient}, on servers that are assumed: name yours with "
            "--cluster to have its links judged"
        )
    if report.step_time_s > LONGER * report.gradient_s:
        # No link is full, but an exchange crosses several, one after another.
        whole = units.seconds(report.step_time_s)
        return f"within the gradient's {gradient}, but with a whole exchange a step takes {whole}"
    return f"hidden behind the gradient's {gradient}"
