"""Compare: how learners come to agree on several topologies, by rounds and by seconds.

Owns the course of one topology: the eigenvalue's prediction beside what the simulator measures.
Must not know how courses are shown.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dualrt.advice.loads import loads, traffic
from dualrt.advice.setting import Setting
from dualrt.advice.trial import (
    LEAST_ROUNDS,
    Vector,
    affordable_rounds,
    agreement,
    contraction,
    starts,
)
from dualrt.core.errors import TopologyError
from dualrt.topology import Topology, require_graph, spectrum, structure
from dualrt.topology.schedules import Schedule, flaw

if TYPE_CHECKING:
    from dualrt.topology.weights import Sparse

MOST_ROUNDS = 400
"""Rounds that are run at most."""

MESSAGES = 100_000
"""Messages that are simulated: half a minute."""

FURTHER = 2.0
"""Times the rounds to consensus that are run, so that the long run shows."""

LATER = 32
"""Rounds that are run from where the long run has begun, if that is beyond what can be run."""

FORESEEN = 512
"""Learners up to which matrices lead there: their powers take a second."""


@dataclass(frozen=True, slots=True)
class Course:
    """One topology's way to agreement; None where it never agrees or was not run."""

    spec: str
    mixing: str
    learners: int
    degree_max: int
    """Most messages that a learner sends in a round."""
    bytes_per_step: float
    second_eigenvalue: float
    consensus_rounds: int | None
    measured: float | None
    """What a round of SD-PSGD, or of SGP where weights are pushed, left of a disagreement in the
    simulator; None where so few rounds as to show nothing send more than `MESSAGES`: then the
    matrices are applied, and a round lasts as long as its gradient or its busiest link."""
    settled: bool
    """Whether `measured` is of the long run: as many rounds were run as consensus takes, or a few
    from where the matrices lead by then, which they do up to `FORESEEN` learners that exchange."""
    round_s: float
    """A round with its gradient on the cluster."""
    consensus_s: float | None
    errors: tuple[float, ...]
    times_s: tuple[float, ...]

    def to_json(self) -> dict[str, Any]:
        """All of it as plain values."""
        return asdict(self)


def course(
    topology: Topology, setting: Setting, tell: Callable[[float], None] = lambda share: None
) -> Course:
    """Let learners agree on a topology; `tell` is told the share of it that is done.

    Raises TopologyError for one that is not doubly stochastic or not connected: it has no
    consensus at the mean.
    """
    schedule = topology.schedule
    messages = traffic(schedule)
    _require_consensus(topology, messages)
    second = spectrum.second_eigenvalue(schedule)
    needed = spectrum.consensus_rounds(schedule, second)
    sent = np.asarray(messages.sum(axis=1)).reshape(-1)
    wanted = MOST_ROUNDS if needed is None else min(MOST_ROUNDS, int(FURTHER * needed) + 2)
    rounds = affordable_rounds(float(sent.sum()), wanted, MESSAGES)
    measured: float | None = None
    settled = needed is None or rounds >= needed
    if sent.sum() * LEAST_ROUNDS <= MESSAGES:
        seen = contraction(topology.run(), setting, rounds, tell)
        errors, times_s, measured = seen.errors, seen.times_s, seen.factor
        begin = None if settled else _later(topology, needed)
        if begin is not None:
            at_most = max(LATER, 2 * (schedule.period or 1))
            further = affordable_rounds(float(sent.sum()), at_most, MESSAGES)
            measured = contraction(topology.run(), setting, further, begin=begin).factor
            settled = True
    else:
        errors = _applied(schedule, rounds)
        used = loads(messages, setting)
        a_round_s = max(setting.gradient_s, used[0].busy_s if used else 0.0)
        times_s = tuple(a_round_s * round for round in range(rounds + 1))
    round_s = times_s[-1] / rounds
    return Course(
        topology.spec,
        topology.mixing,
        schedule.learners,
        int(sent.max()),
        float(sent.mean()) * setting.model_bytes,
        second,
        needed,
        measured,
        settled,
        round_s,
        None if needed is None else needed * round_s,
        errors,
        times_s,
    )


def _require_consensus(topology: Topology, messages: Sparse) -> None:
    name = f"{topology.spec!r} with {topology.mixing} shares"
    if topology.graph is not None:
        require_graph(topology.graph, f"graph {topology.spec!r}")
    if topology.pushes:
        if not structure.is_strongly_connected(messages):
            raise TopologyError(
                f"{topology.spec!r} has no way from everyone to everyone along its edges, so that "
                "learners do not agree. Add an edge"
            )
        return
    wrong = flaw(topology.schedule)
    if wrong is not None:
        raise TopologyError(
            f"{name} is not doubly stochastic: {wrong}, and learners do not agree on their mean. "
            "Use --mixing metropolis"
        )


def _later(topology: Topology, rounds: int | None) -> Vector | None:
    """Where learners are after so many rounds and more, what is left made as large as at first.

    By squaring the product of a period's matrices, mean 0. None where there is no period, where
    learners are too many, and where they push: what they have pushed by then counts as well.
    """
    schedule = topology.schedule
    if schedule.period is None or topology.pushes or schedule.learners > FORESEEN or not rounds:
        return None
    power: Vector = np.eye(schedule.learners)
    for matrix in schedule.rounds():
        power = np.asarray(matrix @ power)
    state = starts(schedule.learners)
    whole = np.linalg.norm(state)
    for _ in range((rounds // schedule.period).bit_length() + 1):
        state = power @ state
        state -= state.mean(axis=0)
        state *= whole / np.linalg.norm(state)
        power = power @ power
    return state


def _applied(schedule: Schedule, rounds: int) -> tuple[float, ...]:
    """Errors of push-sum's estimates z = x / w (arXiv 1811.10792, alg. 1), by its matrices.

    Where rows sum to 1 as well, w stays 1 and z is x.
    """
    x, w = starts(schedule.learners), np.ones((schedule.learners, 1))
    states = [x]
    for round in range(rounds):
        pushed = schedule.at(round)
        x, w = np.asarray(pushed @ x), np.asarray(pushed @ w)
        states.append(x / w)
    return agreement(np.stack(states))
