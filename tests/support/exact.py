"""A workload over one exact number, so that conservation can be tested for equality.

Weights are a Fraction; the gradient of learner i's draw k is a fixed integer, so whatever the
order of events, sum_i w_i == sum_i w_i(0) - rate * (sum of applied gradients), exactly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Protocol, TypeVar, cast

from dualrt.composition import Row
from dualrt.core.effects import Cost
from dualrt.core.learner import Layout, Learner, Seat
from dualrt.core.progress import Constant, Progress
from dualrt.core.weights import Gradient, Weights
from dualrt.core.workload import Workload
from dualrt.topology import Mixing, Pushes, build, one_sided, plan, pushes

L = TypeVar("L", bound=Learner)


@dataclass(frozen=True)
class Number:
    """A vector of one exact number that pretends to have a size."""

    value: Fraction
    nbytes: int


class Form(Protocol):
    """How a number becomes a vector, and back."""

    @property
    def nbytes(self) -> int:
        """What a vector pretends to weigh."""

    def write(self, value: Fraction) -> Any:
        """The vector that holds a number."""

    def read(self, vector: Any) -> Fraction:
        """The number that a vector holds."""


@dataclass(frozen=True)
class Plain:
    """A `Number`: enough where nothing leaves the process."""

    nbytes: int

    def write(self, value: Fraction) -> Number:
        return Number(value, self.nbytes)

    def read(self, vector: Number) -> Fraction:
        return vector.value


class ExactWeights(Weights[Any]):
    """One Fraction, and the exact sum of all that was applied to it."""

    def __init__(self, rank: int, learners: int, value: Fraction, form: Form) -> None:
        super().__init__(rank, learners)
        self.value, self.applied, self.form = value, Fraction(0), form
        self.start = self.lowest = self.highest = value

    @property
    def nbytes(self) -> int:
        return self.form.nbytes

    def mean(self, vectors: Sequence[Any]) -> Any:
        return self.form.write(_mean([self.form.read(vector) for vector in vectors]))

    def _copy(self) -> Any:
        return self.form.write(self.value)

    def _descend(self, gradient: Any, learning_rate: float) -> None:
        step = -Fraction(learning_rate) * self.form.read(gradient)
        self.applied += step
        self._set(self.value + step)

    def _add(self, share: float, theirs: Any, mine: Any) -> None:
        read = self.form.read
        self._set(self.value + Fraction(share) * (read(theirs) - read(mine)))

    def _replace(self, vector: Any) -> None:
        self._set(self.form.read(vector))

    def _set(self, value: Fraction) -> None:
        self.value = value
        self.lowest, self.highest = min(self.lowest, value), max(self.highest, value)


class ExactWorkload:
    """Gradients that depend on who and when, not on the weights; or none at all.

    Learner i starts at i * i + 1, or with `spread` off at 1 like all others.
    """

    def __init__(
        self,
        *,
        learners: int,
        samples_per_epoch: int,
        batch: int = 1,
        nbytes: int = 1_000_000,
        gradients: bool = True,
        spread: bool = True,
        form: Form | None = None,
        weights: type[ExactWeights] = ExactWeights,
    ) -> None:
        self.samples_per_epoch, self.batch = samples_per_epoch, batch
        self.gradient_cost = Cost("gradient", samples=batch, flops=1e9)
        self._learners = learners
        self._form: Form = form or Plain(nbytes)
        self._gradients, self._spread, self._weights = gradients, spread, weights

    def weights(self, rank: int) -> ExactWeights:
        start = Fraction(rank * rank + 1 if self._spread else 1)
        return self._weights(rank, self._learners, start, self._form)

    def gradient(self, at: Any, rank: int, draw: int) -> Gradient[Any]:
        value = (rank * 31 + draw * 17) % 13 - 6 if self._gradients else 0
        return Gradient(self._form.write(Fraction(value)), loss=float(abs(value)))

    def evaluate(self, at: Any) -> Mapping[str, float]:
        return {"loss": float(self._form.read(at))}

    def consensus(self, vectors: Sequence[Any]) -> tuple[Any, float | None]:
        values = [self._form.read(vector) for vector in vectors]
        mean = _mean(values)
        spread = _mean([(value - mean) ** 2 for value in values])
        return self._form.write(mean), float(spread) ** 0.5

    def digest(self, vector: Any) -> bytes:
        return str(self._form.read(vector)).encode()


def _mean(values: Sequence[Fraction]) -> Fraction:
    return sum(values, Fraction(0)) / len(values)


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
    incarnation: int = 0,
) -> list[Seat]:
    """A seat for each learner, with rows of the plan where the layout asks for them."""
    gossipers, heirs = layout.gossipers, dict(layout.heirs)
    made = _plan(layout, graph, mixing, seed) if gossipers else None
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
            incarnation=incarnation,
            mixing=Row(made, gossipers.index(heirs.get(rank, rank)), gossipers)
            if made is not None and heirs.get(rank, rank) in gossipers
            else None,
        )
        for rank in range(learners)
    ]


def _plan(layout: Layout, graph: str, mixing: str, seed: int) -> Mixing | Pushes:
    if layout.directed:
        return pushes(graph, len(layout.gossipers))
    built = build(graph, len(layout.gossipers))
    made = plan(mixing, built, seed)
    return one_sided(made) if layout.one_sided else made


def learners_of(
    algorithm: type[L],
    workload: Workload[Any],
    learners: int,
    settings: Mapping[str, Any] | None = None,
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
