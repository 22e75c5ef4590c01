"""Compare: how learners come to agree on several topologies, by rounds and by seconds.

Owns the course of one topology: the eigenvalue's prediction beside what the simulator measures.
Must not know how courses are shown.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from dualrt.advice.loads import loads, traffic
from dualrt.advice.report import is_doubly_stochastic
from dualrt.advice.setting import Setting
from dualrt.advice.trial import affordable_rounds, agreement, contraction, starts
from dualrt.core.errors import TopologyError
from dualrt.topology import Topology, spectrum
from dualrt.topology.schedules import Schedule

MOST_ROUNDS = 400
"""Rounds that are run at most."""

FURTHER = 2.0
"""Times the rounds to consensus that are run, so that the long run shows."""


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
    """What a round of SD-PSGD left of a disagreement in the simulator; None if it was not run:
    where weights are pushed one way, the matrices of push-sum are applied instead."""
    round_s: float
    """A round of SD-PSGD with its gradient on the cluster."""
    consensus_s: float | None
    errors: tuple[float, ...]
    times_s: tuple[float, ...]

    def to_json(self) -> dict[str, Any]:
        """All of it as plain values."""
        return asdict(self)


def course(topology: Topology, setting: Setting) -> Course:
    """Let learners agree on a topology.

    Raises TopologyError for one that is not doubly stochastic: it has no consensus at the mean.
    """
    schedule = topology.schedule
    if not topology.pushes and not is_doubly_stochastic(schedule):
        raise TopologyError(
            f"{topology.spec!r} with {topology.mixing} shares is not doubly stochastic, so that "
            "learners do not agree on their mean. Use --mixing metropolis"
        )
    second = spectrum.second_eigenvalue(schedule)
    needed = spectrum.consensus_rounds(schedule, second)
    messages = traffic(schedule)
    sent = np.asarray(messages.sum(axis=1)).reshape(-1)
    wanted = MOST_ROUNDS if needed is None else min(MOST_ROUNDS, int(FURTHER * needed) + 2)
    rounds = affordable_rounds(float(sent.sum()), wanted)
    measured: float | None = None
    if topology.plan is not None:
        seen = contraction(topology.plan(), setting, rounds)
        errors, times_s, measured = seen.errors, seen.times_s, seen.factor
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
        round_s,
        None if needed is None else needed * round_s,
        errors,
        times_s,
    )


def _applied(schedule: Schedule, rounds: int) -> tuple[float, ...]:
    """Errors of push-sum's estimates z = x / w (arXiv 1811.10792, alg. 1), by its matrices."""
    x, w = starts(schedule.learners), np.ones((schedule.learners, 1))
    states = [x]
    for round in range(rounds):
        pushed = schedule.at(round)
        x, w = np.asarray(pushed @ x), np.asarray(pushed @ w)
        states.append(x / w)
    return agreement(np.stack(states))
