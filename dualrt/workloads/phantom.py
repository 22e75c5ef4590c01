"""Workloads without numbers: sizes and costs only, for questions of time.

Owns the phantom vector, its weights, and what the papers' acoustic model costs. Must not import
torch: a timing-only simulation runs without it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from dualrt.core.effects import FLOAT32, Cost
from dualrt.core.errors import UsageError
from dualrt.core.weights import Gradient, Weights
from dualrt.core.workload import PiecewiseWorkload, Workload
from dualrt.workloads.array_versions import ArrayVersions
from dualrt.workloads.parts import entries, wanted

_PLACE_BYTES = 4
"""What says which entry one is (`dualrt.workloads.torch_parts`)."""


class PhantomVector(NamedTuple):
    """A model-sized vector of which only the size exists."""

    nbytes: int


class PhantomWeights(Weights[PhantomVector]):
    """Weights that only count versions; averaging and descent change nothing else.

    Parameters: `tensors_bytes` are the sizes of the tensors that `vector` stands for; without them
    it is one; `entry_bytes` the size of each of its entries.
    """

    def __init__(
        self,
        rank: int,
        learners: int,
        vector: PhantomVector,
        tensors_bytes: tuple[int, ...] | None = None,
        entry_bytes: int = 4,
    ) -> None:
        super().__init__(rank, learners, ArrayVersions(learners))
        self._vector = vector
        self._tensors_bytes = tensors_bytes or (vector.nbytes,)
        self._entry_bytes = entry_bytes

    @property
    def nbytes(self) -> int:
        return self._vector.nbytes

    @property
    def tensors_bytes(self) -> tuple[int, ...]:
        return self._tensors_bytes

    @property
    def entry_bytes(self) -> int:
        return self._entry_bytes

    def mean(self, vectors: Sequence[PhantomVector]) -> PhantomVector:
        """The phantom, which is its own mean."""
        return self._vector

    def _copy(self) -> PhantomVector:
        return self._vector

    def _descend(self, gradient: PhantomVector, learning_rate: float) -> None:
        pass

    def _add(self, share: float, theirs: PhantomVector, mine: PhantomVector) -> None:
        pass

    def _replace(self, vector: PhantomVector) -> None:
        pass

    def _part_to_offer(self, vector: PhantomVector, peer: int) -> PhantomVector:
        # For each, which entry it is, and its value.
        return PhantomVector((_PLACE_BYTES + self._entry_bytes) * self._entries)

    def _part_to_answer(self, vector: PhantomVector, offer: PhantomVector) -> PhantomVector:
        entries_bytes = self._entry_bytes * self._entries
        return PhantomVector(entries_bytes + _PLACE_BYTES * wanted(self._entries))

    @property
    def _entries(self) -> int:
        return entries(self._vector.nbytes // self._entry_bytes, self.wire_fraction)

    def _narrowed(self, vector: PhantomVector, wire: str) -> PhantomVector:
        # Both names are of 16 bits.
        return PhantomVector(2 * vector.nbytes // self._entry_bytes)


def weights_passes(parts: int) -> int:
    """How often vectors of the weights' size cross the memory bus in a gradient of so many parts.

    Weights are read forward and backward, and a gradient is written; from the second part on it is
    read again and added to the first.
    """
    return 3 * parts + 3 * (parts - 1)


class Phantom:
    """A workload of stated size and cost.

    Parameters: `parameters_bytes` is the size of one vector; `tensors_bytes` the sizes of its
    parameter tensors, whose sum it then is: left out, the vector is one tensor.
    `samples_per_epoch` is the size of the pool; `flops_per_sample` and `bytes_per_sample` are the
    arithmetic and the device memory traffic of a gradient, forward and backward, for each sample of
    its mini-batch, which is computed in `precision`, and in `accumulate` parts. `seed` is taken
    because every workload takes it; nothing here is random.

    Raises:
        UsageError: the pool is empty, a size or a cost is negative, or the sizes of the tensors are
            not those of the vector.
    """

    frozen_bytes = 0
    """Of parameters that are computed with, and neither trained nor sent."""
    entry_bytes = 4
    """Of each parameter: it is taken for fp32, unless it is the shadow of another."""

    def __init__(
        self,
        *,
        seed: int,
        learners: int,
        batch: int,
        parameters_bytes: int = 100_000_000,
        samples_per_epoch: int = 1_000_000,
        flops_per_sample: float = 1e9,
        bytes_per_sample: int = 0,
        tensors_bytes: tuple[int, ...] = (),
        precision: str = FLOAT32,
        accumulate: int = 1,
    ) -> None:
        for name, value, least in (
            ("parameters_bytes", parameters_bytes, 0),
            ("samples_per_epoch", samples_per_epoch, 1),
            ("flops_per_sample", flops_per_sample, 0),
            ("bytes_per_sample", bytes_per_sample, 0),
        ):
            if value < least:
                raise UsageError(
                    f"{name} = {value!r}: there is no such amount. Choose {least} or more."
                )
        tensors_bytes = tensors_bytes or (parameters_bytes,)
        if min(tensors_bytes) < 0 or sum(tensors_bytes) != parameters_bytes:
            raise UsageError(
                f"tensors_bytes = {list(tensors_bytes)!r}: these are not the sizes of tensors that "
                f"make {parameters_bytes} bytes. Give parameters_bytes = {sum(tensors_bytes)}, or "
                "other sizes."
            )
        self.seed = seed
        self.learners = learners
        self.batch = batch
        self.samples_per_epoch = samples_per_epoch
        self.gradient_cost = Cost(
            "gradient",
            samples=batch,
            flops=flops_per_sample * batch,
            bytes_moved=bytes_per_sample * batch,
            parts=accumulate,
            precision=precision,
        )
        self._vector = PhantomVector(parameters_bytes)
        self._tensors_bytes = tensors_bytes
        self._gradient = Gradient(self._vector, None)

    @staticmethod
    def like(workload: Workload[Any]) -> Phantom:
        """The shadow of a workload: it takes the same time, and computes nothing."""
        weights = workload.weights(0)
        make = Phantom if isinstance(workload, PiecewiseWorkload) else _WholePhantom
        shadow = make(
            seed=0,
            learners=len(weights.versions),
            batch=workload.batch,
            parameters_bytes=weights.nbytes,
            tensors_bytes=tuple(weights.tensors_bytes),
            samples_per_epoch=workload.samples_per_epoch,
        )
        shadow.entry_bytes = weights.entry_bytes
        shadow.frozen_bytes = getattr(workload, "frozen_bytes", 0)
        # As it stands, not by way of costs a sample: rounding would move the shadow's clock.
        shadow.gradient_cost = workload.gradient_cost
        return shadow

    def weights(self, rank: int) -> PhantomWeights:
        """Versions that start at zero."""
        return PhantomWeights(
            rank, self.learners, self._vector, self._tensors_bytes, self.entry_bytes
        )

    def gradient(self, at: PhantomVector, rank: int, draw: int) -> Gradient[PhantomVector]:
        """Always the same phantom, without a loss."""
        return self._gradient

    def gradient_in_pieces(
        self,
        at: PhantomVector,
        rank: int,
        draw: int,
        pieces: Sequence[int],
        share: float,
        ready: Callable[[PhantomVector], None],
    ) -> Gradient[PhantomVector]:
        """The same, with each of its pieces."""
        for nbytes in pieces:
            ready(PhantomVector(nbytes))
        return self._gradient

    def evaluate(self, at: PhantomVector) -> Mapping[str, float]:
        """Nothing: there is no model to evaluate."""
        return {}

    def consensus(self, vectors: Sequence[PhantomVector]) -> tuple[PhantomVector, None]:
        """The phantom, which is its own mean; distance None."""
        return self._vector, None

    def digest(self, vector: PhantomVector) -> bytes:
        """Empty: there are no bits to hash."""
        return b""


class _WholePhantom(Phantom):
    """The shadow of a workload that gives its gradients as a whole only."""

    gradient_in_pieces = None  # type: ignore[assignment]  # no `PiecewiseWorkload`, then


SEGMENT_FRAMES = 21
"""Frames of a training segment (1907.05701)."""

SEGMENTS_PER_EPOCH = {"SWB-2000": 31_870_000, "SWB-300": 4_000_000}
"""Segments of the papers' corpora. SWB-2000: from the papers' hours and seconds an iteration;
SWB-300: 1907.05701 says more than 4 million."""

_INPUT, _LAYERS, _CELLS, _BOTTLENECK, _STATES = 260, 6, 512, 256, 32_000
_GATES = 4
_FP32_BYTES = 4


def acoustic_tensors() -> tuple[int, ...]:
    """Sizes of the acoustic model's 52 parameter tensors, in parameters, in the module's order.

    Six bidirectional LSTM layers of 512 cells a direction on 260 inputs, a projection to 256, and a
    softmax over 32,000 states (arXiv 1907.05701). A direction of a layer has, for its four gates
    together, a matrix from its input, one from its own cells, and the two vectors of biases that
    torch and cuDNN give it; a linear layer a matrix and a vector.
    """
    both, gates = 2 * _CELLS, _GATES * _CELLS
    sizes: list[int] = []
    for width in (_INPUT, *[both] * (_LAYERS - 1)):
        sizes += 2 * [gates * width, gates * _CELLS, gates, gates]
    return (*sizes, _BOTTLENECK * both, _BOTTLENECK, _STATES * _BOTTLENECK, _STATES)


def acoustic_parameters() -> int:
    """Parameters of the acoustic model of 1907.05701: 43,154,944.

    In fp32 they are 164.62 MiB, which is what 2112.01433 prints as 164.62 MB.
    """
    return sum(acoustic_tensors())


def acoustic_flops() -> int:
    """Arithmetic of one segment's gradient: 5,357,371,392 flops.

    A weight takes two forward, two for its own gradient, and two for that of its input. The
    features need no gradient, and neither does the zero state before a direction's first frame.
    """
    both = 2 * _CELLS
    gates = 2 * _GATES * _CELLS
    from_cells = _LAYERS * gates * _CELLS
    from_below = gates * (_INPUT + (_LAYERS - 1) * both)
    linear = both * _BOTTLENECK + _BOTTLENECK * _STATES
    everywhere = 6 * SEGMENT_FRAMES * (from_cells + from_below + linear)
    return everywhere - 2 * from_cells - 2 * SEGMENT_FRAMES * gates * _INPUT


def acoustic_activation_bytes() -> int:
    """What one segment's forward pass keeps for the backward pass: 6,860,112 bytes.

    A cell keeps its four gates, its state and that through tanh, its output, and its output once
    more among those of both directions, which the next layer reads.
    """
    cells = _LAYERS * 2 * _CELLS * (_GATES + 4)
    return _FP32_BYTES * SEGMENT_FRAMES * (_INPUT + cells + _BOTTLENECK + _STATES)


class AcousticPhantom(Phantom):
    """The shadow of the acoustic model of 1907.05701: a `Phantom` with that model's figures.

    Parameters: `corpus` is "SWB-2000" (1,975 h) or "SWB-300", and sets the size of the pool. One
    sample is a segment of 21 frames. `precision` and `accumulate` as in `Phantom`. Arithmetic and
    memory traffic are in closed form what `dualrt.workloads.flops` counts in the module itself.

    Raises:
        UsageError: there is no such corpus.
    """

    def __init__(
        self,
        *,
        seed: int,
        learners: int,
        batch: int,
        corpus: str = "SWB-2000",
        precision: str = FLOAT32,
        accumulate: int = 1,
    ) -> None:
        if corpus not in SEGMENTS_PER_EPOCH:
            raise UsageError(
                f"corpus = {corpus!r}: the papers train on {' and '.join(SEGMENTS_PER_EPOCH)}. "
                "Name one of these, or use the workload 'phantom' with sizes of your own."
            )
        parameters_bytes = _FP32_BYTES * acoustic_parameters()
        super().__init__(
            seed=seed,
            learners=learners,
            batch=batch,
            parameters_bytes=parameters_bytes,
            tensors_bytes=tuple(_FP32_BYTES * size for size in acoustic_tensors()),
            samples_per_epoch=SEGMENTS_PER_EPOCH[corpus],
        )
        self.gradient_cost = Cost(
            "gradient",
            samples=batch,
            flops=float(batch * acoustic_flops()),
            # An activation is written and read forward, and its gradient backward.
            bytes_moved=weights_passes(accumulate) * parameters_bytes
            + 4 * batch * acoustic_activation_bytes(),
            parts=accumulate,
            precision=precision,
        )
