"""Trials: a topology run for a few steps in the simulator, with real exchanges of small vectors.

Owns the workload of a trial, which starts every learner elsewhere and gives gradients of zero, so
that nothing moves the weights but averaging. The algorithms are those that train.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dualrt.advice.setting import Setting
from dualrt.algorithms.adpsgd import ADPSGD
from dualrt.algorithms.gossip import Way
from dualrt.algorithms.sdpsgd import SDPSGD
from dualrt.algorithms.sgp import SGP
from dualrt.composition import Row
from dualrt.core.learner import Learner, Seat
from dualrt.core.progress import Constant, Progress
from dualrt.core.records import Span, Update
from dualrt.core.weights import Gradient, Weights
from dualrt.sim.driver import Machine, Simulator
from dualrt.topology import Mixing, Pushes

Vector = npt.NDArray[np.float64]

DIMENSION = 32
"""Entries of a learner's vector: enough that no eigenvector is missed."""

SEED = 1


def starts(learners: int) -> Vector:
    """Where learners begin: [learners, DIMENSION], normal, with mean 0."""
    generator = np.random.Generator(np.random.Philox(key=SEED))
    drawn = generator.standard_normal((learners, DIMENSION))
    return np.asarray(drawn - drawn.mean(axis=0))


class _Model(NamedTuple):
    """A small vector that is sent and averaged at the price of a whole model."""

    values: Vector
    nbytes: int


class _Weights(Weights[_Model]):
    """Weights that only averaging moves."""

    def __init__(self, rank: int, learners: int, start: _Model) -> None:
        super().__init__(rank, learners)
        self._model = start

    @property
    def nbytes(self) -> int:
        return self._model.nbytes

    def mean(self, vectors: Sequence[_Model]) -> _Model:
        """The mean over learners."""
        return _Model(np.mean([vector.values for vector in vectors], axis=0), self.nbytes)

    def _copy(self) -> _Model:
        return self._model

    def _descend(self, gradient: _Model, learning_rate: float) -> None:
        pass

    def _add(self, share: float, theirs: _Model, mine: _Model) -> None:
        # A new array: who was sent the old one keeps it.
        moved = self._model.values + share * (theirs.values - mine.values)
        self._model = _Model(moved, self.nbytes)

    def _replace(self, vector: _Model) -> None:
        self._model = vector


class _Standing:
    """The workload without slopes; every learner starts elsewhere."""

    samples_per_epoch = 1

    def __init__(self, begin: Vector, setting: Setting, batch: int) -> None:
        self.batch, self.gradient_cost = batch, setting.gradient
        self._learners, self._nbytes = len(begin), setting.model_bytes
        self._zero = _Model(np.zeros(DIMENSION), setting.model_bytes)
        self._starts = begin

    def weights(self, rank: int) -> _Weights:
        return _Weights(rank, self._learners, _Model(self._starts[rank], self._nbytes))

    def gradient(self, at: _Model, rank: int, draw: int) -> Gradient[_Model]:
        return Gradient(self._zero, None)

    def evaluate(self, at: _Model) -> Mapping[str, float]:
        return {}

    def consensus(self, vectors: Sequence[_Model]) -> tuple[_Model, None]:
        return vectors[0], None

    def digest(self, vector: _Model) -> bytes:
        return b""


@dataclass(frozen=True, slots=True)
class Pace:
    """How a few steps of AD-PSGD, or of SGP, went."""

    step_s: float
    """From a learner's step to its next, on average over the second half of the steps."""
    staleness_mean: float
    """Of the second half of the steps: the first find all learners alike."""


def pace(plan: Mixing | Pushes, setting: Setting, steps: int, exchange: Way = "delta") -> Pace:
    """Run AD-PSGD, or SGP where weights are pushed, for `steps` a learner on average.

    With `lock`, the plan must be one-sided.
    """
    seen: list[tuple[float, Update]] = []
    learners = (
        _learners(SGP, plan, setting, steps)
        if isinstance(plan, Pushes)
        else _learners(ADPSGD, plan, setting, steps, exchange=exchange)
    )
    _simulate(learners, setting, lambda time_s, update: seen.append((time_s, update)))
    later = seen[len(seen) // 2 :]
    return Pace(_interval_s(seen), sum(update.staleness for _, update in later) / len(later))


def _interval_s(seen: Sequence[tuple[float, Update]]) -> float:
    """Between two updates of one learner: all such spans together by all such intervals.

    Counting all updates in a time would make a step seem shorter where some do one more before the
    end: all end in the same instant where nothing varies.
    """
    ended_s: dict[int, list[float]] = {}
    for time_s, update in seen:
        ended_s.setdefault(update.learner, [0.0]).append(time_s)
    later = [times_s[len(times_s) // 2 - 1 :] for times_s in ended_s.values()]
    return sum(times_s[-1] - times_s[0] for times_s in later) / sum(
        len(times_s) - 1 for times_s in later
    )


@dataclass(frozen=True, slots=True)
class Contraction:
    """How disagreement went down in synchronous averaging (D-PSGD, eq. 7 of arXiv 1907.05701)."""

    errors: tuple[float, ...]
    """||W_k - mean|| / ||W_0 - mean|| after k rounds, from k = 0."""
    times_s: tuple[float, ...]
    """When the last learner had ended round k; of SGP, from its first gradient to its next."""
    factor: float
    """What a round leaves of a disagreement, over the later half of the rounds."""


def contraction(
    plan: Mixing | Pushes,
    setting: Setting,
    rounds: int,
    tell: Callable[[float], None] = lambda share: None,
    begin: Vector | None = None,
) -> Contraction:
    """Run SD-PSGD, or SGP where weights are pushed, for `rounds` and watch the learners agree.

    `tell` is told the share of the rounds that is done. Learners begin at `begin`, of shape
    [learners, DIMENSION], or else where `starts` says.
    """
    # An update ends a round of SD-PSGD, and comes before the pushes of one of SGP.
    algorithm, ahead = (SGP, 1) if isinstance(plan, Pushes) else (SDPSGD, 0)
    states = np.zeros((rounds + 1, plan.learners, DIMENSION))
    ended_s = [0.0] * (rounds + 1)

    def note(time_s: float, update: Update) -> None:
        round = update.step - ahead
        states[round, update.learner] = learners[update.learner].weights.snapshot().vector.values
        ended_s[round] = max(ended_s[round], time_s)
        if update.learner == 0:
            tell(round / rounds)

    learners = _learners(algorithm, plan, setting, rounds + ahead, begin)
    states[0] = [learner.weights.snapshot().vector.values for learner in learners]
    _simulate(learners, setting, note)
    times_s = [time_s - ended_s[0] for time_s in ended_s]
    return _contraction(states, times_s, plan.period or 1)


def agreement(states: Vector) -> tuple[float, ...]:
    """||W_k - mean|| / ||W_0 - mean|| for states of shape [rounds + 1, learners, dimension]."""
    apart = states - states.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(apart.reshape(len(states), -1), axis=1)
    return tuple((norms / (norms[0] or 1.0)).tolist())


def _contraction(states: Vector, times_s: Sequence[float], period: int) -> Contraction:
    errors = agreement(states)
    # What is below is rounding, which no longer shrinks.
    last = max(k for k, error in enumerate(errors) if k == 0 or error > 1e-12)
    if last < len(errors) - 1 and last <= period:
        return Contraction(errors, tuple(times_s), 0.0)
    first = last - max(1, last // (2 * period)) * period if last > period else 0
    factor = (errors[last] / errors[first]) ** (1 / (last - first)) if last > first else 0.0
    return Contraction(errors, tuple(times_s), float(factor))


def _learners(
    algorithm: type[Learner],
    plan: Mixing | Pushes,
    setting: Setting,
    steps: int,
    begin: Vector | None = None,
    **settings: Any,
) -> list[Learner]:
    learners = plan.learners
    begin = starts(learners) if begin is None else begin
    workload = _Standing(begin, setting, setting.gradient.samples or 1)
    layout = algorithm.layout(learners, **settings)
    progress = Progress(
        epochs=float(steps * learners),
        samples_per_epoch=1,
        samples_per_update=1,
        schedule=Constant(1.0),
    )
    return [
        algorithm(
            Seat(
                rank,
                learners,
                workload.weights(rank),
                workload,
                progress,
                layout,
                Row(plan, rank, layout.gossipers),
            ),
            **settings,
        )
        for rank in range(learners)
    ]


def _simulate(
    learners: Sequence[Learner], setting: Setting, note: Callable[[float, Update], None]
) -> None:
    machine = Machine(setting.cluster, setting.device, SEED, {})
    Simulator(learners, machine, _Listener(note)).run()


class _Listener:
    """Hands updates on."""

    def __init__(self, note: Callable[[float, Update], None]) -> None:
        self._note = note

    def span(self, span: Span) -> None:
        """Nothing."""

    def update(self, time_s: float, update: Update) -> None:
        """Hand it on."""
        self._note(time_s, update)


LEAST_ROUNDS = 3
"""Rounds below which a trial shows nothing."""


def affordable_rounds(messages_per_round: float, wanted: int, budget: int) -> int:
    """As many rounds as are wanted, or as `budget` messages allow; at least `LEAST_ROUNDS`."""
    return max(LEAST_ROUNDS, min(wanted, math.floor(budget / max(1.0, messages_per_round))))
