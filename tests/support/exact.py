"""A workload over one exact number, so that conservation can be tested for equality.

Weights are a Fraction; the gradient of learner i's draw k is a fixed integer, so whatever the
order of events, sum_i w_i == sum_i w_i(0) - rate * (sum of applied gradients), exactly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, TypeVar, cast

from dualrt.composition import Row
from dualrt.core.effects import Cost
from dualrt.core.learner import Layout, Learner, Seat
from dualrt.core.progress import Constant, Progress
from dualrt.core.weights import Gradient, Weights
from dualrt.core.workload import Workload
from dualrt.topology import build, plan

L = TypeVar("L", bound=Learner)


@dataclass(frozen=True)
class Number:
    """A vector of one exact number that pretends to have a size."""

    value: Fraction
    nbytes: int


class ExactWeights(Weights[Number]):
    """One Fraction, and the exact sum of all that was applied to it."""

    def __init__(self, rank: int, learners: int, value: Fraction, nbytes: int) -> None:
        super().__init__(rank, learners)
        self.value, self.applied, self._nbytes = value, Fraction(0), nbytes
        self.start = self.lowest = self.highest = value

    @property
    def nbytes(self) -> int:
        return self._nbytes

    def mean(self, vectors: Sequence[Number]) -> Number:
        return Number(sum((v.value for v in vectors), Fraction(0)) / len(vectors), self._nbytes)

    def _copy(self) -> Number:
        return Number(self.value, self._nbytes)

    def _descend(self, gradient: Number, learning_rate: float) -> None:
        step = -Fraction(learning_rate) * gradient.value
        self.applied += step
        self._set(self.value + step)

    def _add(self, share: float, theirs: Number, mine: Number) -> None:
        self._set(self.value + Fraction(share) * (theirs.value - mine.value))

    def _replace(self, vector: Number) -> None:
        self._set(vector.value)

    def _set(self, value: Fraction) -> None:
        self.value = value
        self.lowest, self.highest = min(self.lowest, value), max(self.highest, value)


class ExactWorkload:
    """Gradients that depend on who and when, not on the weights; or none at all."""

    def __init__(
        self,
        *,
        learners: int,
        samples_per_epoch: int,
        batch: int = 1,
        nbytes: int = 1_000_000,
        gradients: bool = True,
        spread: bool = True,
    ) -> None:
        self.samples_per_epoch, self.batch = samples_per_epoch, batch
        self.gradient_cost = Cost("gradient", samples=batch, flops=1e9)
        self._learners, self._nbytes = learners, nbytes
        self._gradients, self._spread = gradients, spread
        self.made: list[ExactWeights] = []

    def weights(self, rank: int) -> ExactWeights:
        start = Fraction(rank * rank + 1 if self._spread else 1)
        weights = ExactWeights(rank, self._learners, start, self._nbytes)
        self.made.append(weights)
        return weights

    def gradient(self, at: Number, rank: int, draw: int) -> Gradient[Number]:
        value = (rank * 31 + draw * 17) % 13 - 6 if self._gradients else 0
        return Gradient(Number(Fraction(value), self._nbytes), loss=float(abs(value)))

    def evaluate(self, at: Number) -> Mapping[str, float]:
        return {"loss": float(at.value)}

    def consensus(self, vectors: Sequence[Number]) -> tuple[Number, float | None]:
        mean = sum((v.value for v in vectors), Fraction(0)) / len(vectors)
        spread = sum(((v.value - mean) ** 2 for v in vectors), Fraction(0)) / len(vectors)
        return Number(mean, self._nbytes), float(spread) ** 0.5

    def digest(self, vector: Number) -> bytes:
        return str(vector.value).encode()


def seats(
    workload: Workload[Any],
    layout: Layout,
    *,
    learners: int,
    epochs: float = 1.0,
    graph: str = "ring",
    mixing: str = "pairwise",
    rate: float = 0.5,
    seed: int = 0,
) -> list[Seat]:
    """A seat for each learner, with rows of the plan where the layout asks for them."""
    gossipers = layout.gossipers
    made = plan(mixing, build(graph, len(gossipers)), seed) if gossipers else None
    progress = Progress(
        epochs=epochs,
        samples_per_epoch=workload.samples_per_epoch,
        samples_per_update=workload.batch * layout.batches_per_update,
        schedule=Constant(rate),
    )
    return [
        Seat(
            rank=rank,
            learners=learners,
            weights=workload.weights(rank),
            workload=workload,
            progress=progress,
            layout=layout,
            mixing=Row(made, gossipers.index(rank), gossipers)
            if made is not None and rank in gossipers
            else None,
        )
        for rank in range(learners)
    ]


def learners_of(
    algorithm: type[L],
    workload: Workload[Any],
    learners: int,
    settings: Mapping[str, int] | None = None,
    **seating: Any,
) -> list[L]:
    """All learners of a run of `algorithm`; `seating` is passed on to `seats`."""
    settings = dict(settings or {})
    layout = algorithm.layout(learners, **settings)
    return [
        algorithm(seat, **settings)
        for seat in seats(workload, layout, learners=learners, **seating)
    ]


def imbalance(learners: Sequence[Learner]) -> Fraction:
    """Sum over replicas of weights less starts less all that gradients changed: 0 is conserved."""
    replicas = learners[0].seat.layout.replicas
    kept = [cast(ExactWeights, learners[rank].weights) for rank in replicas]
    return sum((w.value - w.start - w.applied for w in kept), Fraction(0))
