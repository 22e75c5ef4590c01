"""Workloads without numbers: sizes and costs only, for questions of time.

Owns the phantom vector, its weights, and what the papers' acoustic model costs. Must not import
torch: a timing-only simulation runs without it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from dualrt.core.effects import Cost
from dualrt.core.errors import UsageError
from dualrt.core.weights import Gradient, Weights
from dualrt.core.workload import Workload
from dualrt.workloads.array_versions import ArrayVersions


class PhantomVector(NamedTuple):
    """A model-sized vector of which only the size exists."""

    nbytes: int


class PhantomWeights(Weights[PhantomVector]):
    """Weights that only count versions; averaging and descent change nothing else."""

    def __init__(self, rank: int, learners: int, vector: PhantomVector) -> None:
        super().__init__(rank, learners, ArrayVersions(learners))
        self._vector = vector

    @property
    def nbytes(self) -> int:
        return self._vector.nbytes

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


class Phantom:
    """A workload of stated size and cost.

    Parameters: `parameters_bytes` is the size of one vector; `samples_per_epoch` the size of the
    pool; `flops_per_sample` and `bytes_per_sample` are the arithmetic and the device memory traffic
    of a gradient, forward and backward, for each sample of its mini-batch. `seed` is taken because
    every workload takes it; nothing here is random.

    Raises:
        UsageError: the pool is empty, or a size or a cost is negative.
    """

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
        self.seed = seed
        self.learners = learners
        self.batch = batch
        self.samples_per_epoch = samples_per_epoch
        self.gradient_cost = Cost(
            "gradient",
            samples=batch,
            flops=flops_per_sample * batch,
            bytes_moved=bytes_per_sample * batch,
        )
        self._vector = PhantomVector(parameters_bytes)
        self._gradient = Gradient(self._vector, None)

    @staticmethod
    def like(workload: Workload[Any]) -> Phantom:
        """The shadow of a workload: it takes the same time, and computes nothing."""
        weights = workload.weights(0)
        shadow = Phantom(
            seed=0,
            learners=len(weights.versions),
            batch=workload.batch,
            parameters_bytes=weights.nbytes,
            samples_per_epoch=workload.samples_per_epoch,
        )
        # As it stands, not by way of costs a sample: rounding would move the shadow's clock.
        shadow.gradient_cost = workload.gradient_cost
        return shadow

    def weights(self, rank: int) -> PhantomWeights:
        """Versions that start at zero."""
        return PhantomWeights(rank, self.learners, self._vector)

    def gradient(self, at: PhantomVector, rank: int, draw: int) -> Gradient[PhantomVector]:
        """Always the same phantom, without a loss."""
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


SEGMENT_FRAMES = 21
"""Frames of a training segment (1907.05701)."""

SEGMENTS_PER_EPOCH = {"SWB-2000": 31_870_000, "SWB-300": 4_000_000}
"""Segments of the papers' corpora. SWB-2000: from the papers' hours and seconds an iteration;
SWB-300: 1907.05701 says more than 4 million."""

_INPUT, _LAYERS, _CELLS, _BOTTLENECK, _STATES = 260, 6, 512, 256, 32_000
_GATES = 4
_FP32_BYTES = 4


def acoustic_parameters() -> int:
    """Parameters of the acoustic model of 1907.05701: 43,154,944.

    Six bidirectional LSTM layers of 512 cells a direction on 260 inputs (each gate with the two
    biases that torch and cuDNN give it), a projection to 256, and a softmax over 32,000 states.
    In fp32 they are 164.62 MiB, which is what 2112.01433 prints as 164.62 MB.
    """
    both = 2 * _CELLS
    inputs = [_INPUT] + [both] * (_LAYERS - 1)
    lstm = sum(2 * _GATES * _CELLS * (width + _CELLS + 2) for width in inputs)
    projection = (both + 1) * _BOTTLENECK
    softmax = (_BOTTLENECK + 1) * _STATES
    return lstm + projection + softmax


class AcousticPhantom(Phantom):
    """The shadow of the acoustic model of 1907.05701: a `Phantom` with that model's figures.

    Parameters: `corpus` is "SWB-2000" (1,975 h) or "SWB-300", and sets the size of the pool. One
    sample is a segment of 21 frames. Arithmetic is six operations a parameter and frame (two
    forward, four backward); memory traffic is that of the activations: each written and read once
    forward, and its gradient once backward.

    Raises:
        UsageError: there is no such corpus.
    """

    def __init__(self, *, seed: int, learners: int, batch: int, corpus: str = "SWB-2000") -> None:
        if corpus not in SEGMENTS_PER_EPOCH:
            raise UsageError(
                f"corpus = {corpus!r}: the papers train on {' and '.join(SEGMENTS_PER_EPOCH)}. "
                "Name one of these, or use the workload 'phantom' with sizes of your own."
            )
        parameters = acoustic_parameters()
        # A cell keeps four gates, its state and its output.
        activations = _INPUT + _LAYERS * 2 * _CELLS * (_GATES + 2) + _BOTTLENECK + _STATES
        super().__init__(
            seed=seed,
            learners=learners,
            batch=batch,
            parameters_bytes=_FP32_BYTES * parameters,
            samples_per_epoch=SEGMENTS_PER_EPOCH[corpus],
            flops_per_sample=6.0 * parameters * SEGMENT_FRAMES,
            bytes_per_sample=4 * _FP32_BYTES * activations * SEGMENT_FRAMES,
        )
