"""Overlap: a gradient that is averaged while it is being computed, in virtual time.

Owns when its pieces are ready, and the two courses that run side by side: the computation, and the
allreduces of its pieces, one after another. Must not know how long either takes.

The forward pass takes a third of a gradient's time and the backward pass two, as for a product of
matrices (one product forward, two backward). In the backward pass a piece takes time in proportion
to its bytes: each weight of a layer costs as much arithmetic as any other. So the first piece, of
the last layers, is ready early, and the last when the gradient is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

from dualrt.core.effects import AllReduce, Body, Compute, Effect, MeanGradient, value
from dualrt.core.errors import DualrtError
from dualrt.core.weights import Gradient, Weights

FORWARD = 1 / 3
"""Of a gradient's time."""


def ready_at(pieces: Sequence[int]) -> tuple[float, ...]:
    """For each piece, the share of the gradient's time after which it is ready; the last has 1."""
    whole = sum(pieces)
    return (
        *(FORWARD + (1 - FORWARD) * done / whole for done in accumulate(pieces[:-1])),
        1.0,
    )


class Piece(NamedTuple):
    """What a member brings to the allreduce of a piece: with the last, the whole vector."""

    nbytes: int
    whole: Any = None


def mean_of(weights: Weights[Any], brought: Sequence[Any]) -> Any:
    """The mean of what the members of an allreduce have brought.

    With pieces, that of the whole vectors, once and with the last: it is the same to the bit.
    """
    if not isinstance(brought[0], Piece):
        return weights.mean(brought)
    wholes = [piece.whole for piece in brought]
    return None if wholes[0] is None else weights.mean(wholes)


@value
class MarkedCompute(Compute[Gradient[Any]]):
    """A computation that calls `tell` when each of `marks`, shares of its time, has passed."""

    marks: Sequence[float] = ()
    tell: Callable[[Any], None] = lambda _: None


class AwaitPiece(Effect[None]):
    """Wait until a piece of a gradient is ready."""

    __slots__ = ("overlap", "place")

    def __init__(self, overlap: Overlap, place: int) -> None:
        self.overlap, self.place = overlap, place

    def __repr__(self) -> str:
        return f"piece {self.place} of a gradient"


class Overlap:
    """One gradient of one learner under way: two bodies, to be run side by side."""

    def __init__(self, effect: MeanGradient) -> None:
        self._effect = effect
        self._ready = 0
        self._gradient: Gradient[Any] | None = None
        self._wake: Callable[[], None] | None = None

    @property
    def bodies(self) -> tuple[Body[Any], Body[Any]]:
        """The computation, and the averaging; they return what `answer` takes."""
        return self._compute(), self._average()

    def await_piece(self, place: int, wake: Callable[[], None]) -> bool:
        """Whether a piece is ready; if not, `wake` is called when it is."""
        if place < self._ready:
            return True
        self._wake = wake
        return False

    async def _compute(self) -> Gradient[Any]:
        effect = self._effect
        *marks, _ = ready_at(effect.pieces)
        gradient = self._gradient = await MarkedCompute(
            effect.work, effect.cost, marks=marks, tell=self._tell
        )
        self._tell()
        return gradient

    async def _average(self) -> Any:
        """The mean; or what one of the collectives raised, as the strand may want to catch it."""
        effect, mean = self._effect, None
        try:
            for place, nbytes in enumerate(effect.pieces):
                await AwaitPiece(self, place)
                whole = None if self._gradient is None else self._gradient.vector
                last = place == len(effect.pieces) - 1
                mean = await AllReduce(effect.group, Piece(nbytes, whole if last else None))
        except DualrtError as error:
            return error
        return mean

    def _tell(self, _: object = None) -> None:
        self._ready += 1
        if self._wake is not None:
            wake, self._wake = self._wake, None
            wake()
