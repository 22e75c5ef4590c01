"""Workload: what is being learned, behind one protocol.

Owns the contract between learners and a model with its data. Must not know any model, nor who
evaluates gradients together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar, cast, runtime_checkable

from dualrt.core.effects import Cost
from dualrt.core.weights import Gradient, Weights

V = TypeVar("V")


class Workload(Protocol[V]):
    """A model, its data, its loss and its cost.

    One object serves all learners that live in a process (in the simulator: all of them), so its
    methods keep no state of a learner. All randomness comes from the seed that it was made with
    and the arguments: the same (vector, rank, draw) gives the same gradient in every process.
    """

    @property
    def samples_per_epoch(self) -> int:
        """Size of the pool that all learners draw from."""

    @property
    def batch(self) -> int:
        """Samples of one learner's mini-batch."""

    @property
    def gradient_cost(self) -> Cost:
        """What one call of `gradient` costs."""

    def weights(self, rank: int) -> Weights[V]:
        """Fresh weights for a learner; the same values for every rank."""

    def gradient(self, at: V, rank: int, draw: int) -> Gradient[V]:
        """Mean gradient over learner `rank`'s mini-batch number `draw` (from 0), taken at `at`.

        `at` is not changed. Learner i's draw k is batch k * learners + i of the shared pool.
        """

    def evaluate(self, at: V) -> Mapping[str, float]:
        """Held-out figures of a model: "loss", and "accuracy" where there is one; may be empty."""

    def consensus(self, vectors: Sequence[V]) -> tuple[V, float | None]:
        """The delivered model, which is the mean over all learners, and the consensus distance.

        The distance is sqrt(mean_i ||w_i - mean||^2); None where there are no numbers.
        """

    def digest(self, vector: V) -> bytes:
        """A hash of a vector's exact bits; empty where there are no numbers."""


@dataclass(slots=True, eq=False)  # not frozen: see `dualrt.core.effects.value`
class GradientOf(Generic[V]):
    """A gradient that is asked for: calling it computes it.

    As a value and not as a closure, so that a driver may evaluate several of one workload
    together: the result depends on these four alone, and not on when it is computed. So nobody may
    write to `at` while the gradient is under way.
    """

    workload: Workload[V]
    at: V
    rank: int
    draw: int
    loose: bool = False
    """Whether `LooseWorkload.loose_gradient` will do, where there is one."""

    def __call__(self) -> Gradient[V]:
        """`Workload.gradient`, and the errors that it raises."""
        if self.loose:
            # Not `isinstance`, which looks at every member of the protocol, in each step.
            offered = getattr(self.workload, "loose_gradient", None)
            if offered is not None:
                given: Gradient[V] = offered(self.at, self.rank, self.draw)
                return given
        return self.workload.gradient(self.at, self.rank, self.draw)

    def in_pieces(
        self, pieces: Sequence[int], share: float, ready: Callable[[V], None]
    ) -> Gradient[V]:
        """`PiecewiseWorkload.gradient_in_pieces`, for a workload that is one."""
        workload = cast(PiecewiseWorkload[V], self.workload)
        return workload.gradient_in_pieces(self.at, self.rank, self.draw, pieces, share, ready)


@runtime_checkable
class PiecewiseWorkload(Workload[V], Protocol[V]):
    """A workload that can say of parts of a gradient that they are final, before all of it is.

    An offer to learners that average gradients; nobody has to make or to take it.
    """

    def gradient_in_pieces(
        self,
        at: V,
        rank: int,
        draw: int,
        pieces: Sequence[int],
        share: float,
        ready: Callable[[V], None],
    ) -> Gradient[V]:
        """What `gradient` returns times `share`; see `dualrt.core.effects.Piecewise`.

        `pieces` are whole tensors of the vector, from its end on (`dualrt.core.buckets`).
        """


class LooseWorkload(Workload[V], Protocol[V]):
    """A workload whose weights can apply a gradient that is not one vector.

    An offer to learners that do nothing else with it; nobody has to make or to take it.
    """

    def loose_gradient(self, at: V, rank: int, draw: int) -> Gradient[Any]:
        """What `gradient` returns, for `descend` of this workload's weights alone, and soon.

        It may share memory with `at`.
        """


@runtime_checkable
class JointWorkload(Workload[V], Protocol[V]):
    """A workload that may take several gradients in one go faster than one after the other.

    An offer to drivers that hold many learners in one process; nobody has to make or to take it.
    """

    @property
    def gradients_at_once(self) -> int:
        """The most gradients that pay to be taken together; 1 if none do."""

    def gradients(self, asked: Sequence[GradientOf[V]]) -> Sequence[Gradient[V]]:
        """What each of `asked` returns when called, in their order, and equal to rounding.

        All are of this workload. If one of them would raise, this may raise anything.
        """
