"""A quadratic for each learner: everything about it is known in closed form.

Owns the objective, its optimum and its noise. Must not know an algorithm.

    f_i(w; xi) = 1/2 (w - c_i)^T A (w - c_i) + <xi, w - c_i>,   f = mean_i f_i,   w* = mean_i c_i

A is diagonal with eigenvalues from 1 / condition_number to 1, evenly spaced in their logarithm, so
any constant learning rate below 2 is stable on it, and weights start at 0, at distance 1 from w*.
Theory speaks of three quantities (1705.09056, assumption 1), and each is a setting: smoothness (1,
and `condition_number`), the spread of the learners' objectives, and the variance of the gradient.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from dualrt.core.effects import Cost
from dualrt.core.errors import UsageError
from dualrt.core.seeds import derive
from dualrt.core.weights import Gradient
from dualrt.workloads.torch_optimizer import OptimizerFactory
from dualrt.workloads.torch_vectors import consensus, digest
from dualrt.workloads.torch_weights import TorchWeights

_DTYPES = {"float32": torch.float32, "float64": torch.float64}

MOST_NUMBERS = 2**30
"""In the optima of all learners together: 8 GiB of float64."""


class Quadratic:
    """The workload of minimising f above.

    Parameters: `dimension` of w; `condition_number` of A; `heterogeneity`, which is
    sqrt(mean_i ||c_i - w*||^2), for a single learner 0; `noise`, the standard deviation of one
    sample's gradient, so that E||xi||^2 = noise^2 / batch; `samples_per_epoch`, a convention, as
    there is no data set; `dtype`, "float64" or "float32"; `optimizer` and `audit` as in
    `TorchWeights`.

    Attributes: `optimum` is w* and `optimal_loss` f(w*); `curvature` the diagonal of A and
    `optima` the c_i, one a row; all in float64.

    Raises:
        UsageError: a setting is out of its range.
    """

    def __init__(
        self,
        *,
        seed: int,
        learners: int,
        batch: int,
        dimension: int = 64,
        condition_number: float = 10.0,
        heterogeneity: float = 1.0,
        noise: float = 1.0,
        samples_per_epoch: int = 10_000,
        optimizer: OptimizerFactory | None = None,
        dtype: str = "float64",
        audit: bool = False,
    ) -> None:
        if dtype not in _DTYPES:
            raise UsageError(f"dtype = {dtype!r}: no such type. Use {' or '.join(_DTYPES)}.")
        if not 1 <= condition_number < math.inf:
            raise UsageError(
                f"condition_number = {condition_number}: it is the ratio of the largest to the "
                "smallest eigenvalue. Choose a finite number from 1."
            )
        for name, value, least in (
            ("dimension", dimension, 1),
            ("heterogeneity", heterogeneity, 0),
            ("noise", noise, 0),
            ("samples_per_epoch", samples_per_epoch, 1),
        ):
            if not least <= value < math.inf:
                raise UsageError(
                    f"{name} = {value!r}: there is no such amount. Choose {least} or more."
                )
        if dimension * learners > MOST_NUMBERS:
            raise UsageError(
                f"dimension = {dimension}: the optima of {learners} learners would not fit in "
                f"memory. Choose {MOST_NUMBERS // learners} or less."
            )
        self._seed, self._learners, self._dtype = seed, learners, _DTYPES[dtype]
        self._noise_scale = noise / (batch * dimension) ** 0.5
        self._optimizer, self._audit = optimizer, audit
        self.batch = batch
        self.samples_per_epoch = samples_per_epoch
        self.gradient_cost = Cost(
            "gradient",
            samples=batch,
            flops=6.0 * dimension * batch,
            bytes_moved=4 * dimension * self._dtype.itemsize,
        )
        self.curvature = torch.logspace(
            0.0, -1.0, dimension, base=condition_number, dtype=torch.float64
        )
        direction = self._normal(dimension, "optimum")
        self.optimum = direction / direction.norm()
        self.optima = self.optimum + self._spread(heterogeneity)
        offsets = self.optima - self.optimum
        self.optimal_loss = float(0.5 * (self.curvature * offsets.square()).sum(1).mean())

    def weights(self, rank: int) -> TorchWeights:
        """Zeros of shape [dimension]."""
        zeros = torch.zeros(len(self.optimum), dtype=self._dtype)
        return TorchWeights(rank, self._learners, zeros, self._optimizer, audit=self._audit)

    def gradient(self, at: Tensor, rank: int, draw: int) -> Gradient[Tensor]:
        """A (at - c_rank) + xi and f_rank(at; xi), with xi a function of (seed, rank, draw)."""
        offset = at.double() - self.optima[rank]
        slope = self.curvature * offset
        noise = self._noise_scale * self._normal(len(offset), "noise", rank, draw)
        loss = (0.5 * slope + noise) @ offset
        return Gradient((slope + noise).to(self._dtype), loss.item())

    def evaluate(self, at: Tensor) -> Mapping[str, float]:
        """ "loss" is f(at) - f(w*), computed without subtracting the two."""
        offset = at.double() - self.optimum
        return {"loss": float(0.5 * (self.curvature * offset) @ offset)}

    def consensus(self, vectors: Sequence[Tensor]) -> tuple[Tensor, float]:
        """The mean and the consensus distance; see `torch_vectors.consensus`."""
        return consensus(vectors)

    def digest(self, vector: Tensor) -> bytes:
        """A hash of the vector's exact bits; 16 bytes."""
        return digest(vector)

    def _normal(self, dimension: int, *names: str | int) -> Tensor:
        generator = torch.Generator().manual_seed(derive(self._seed, *names))
        return torch.randn(dimension, generator=generator, dtype=torch.float64)

    def _spread(self, heterogeneity: float) -> Tensor:
        """One offset a row, with mean 0 and root mean square norm `heterogeneity`."""
        dimension = len(self.optimum)
        raw = torch.stack([self._normal(dimension, "c", i) for i in range(self._learners)])
        if self._learners == 1:
            return torch.zeros_like(raw)
        centred = raw - raw.mean(0)
        return centred * (heterogeneity / centred.square().sum(1).mean().sqrt())
