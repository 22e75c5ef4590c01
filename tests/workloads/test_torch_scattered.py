"""A gradient that nobody gathers is the same gradient, and the same step."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from dualrt.core.weights import Gradient
from dualrt.core.workload import GradientOf
from dualrt.workloads.torch_optimizer import OptimizerFactory
from dualrt.workloads.torch_scattered import Scattered
from dualrt.workloads.torch_task import Samples, TorchTask
from dualrt.workloads.torch_weights import TorchWeights


def wide() -> nn.Module:
    """1.2 MB in six tensors."""
    return nn.Sequential(
        nn.Linear(6, 400), nn.Tanh(), nn.Linear(400, 700), nn.Tanh(), nn.Linear(700, 3)
    )


class Doubled(TorchTask):
    """With a gradient of its own."""

    def gradient(self, at: Tensor, rank: int, draw: int) -> Gradient[Tensor]:
        vector, loss = super().gradient(at, rank, draw)
        return Gradient(2 * vector, loss)


def task(
    kind: type[TorchTask] = TorchTask,
    *,
    hidden: bool = True,
    accumulate: int = 1,
    optimizer: OptimizerFactory | None = None,
    audit: bool = False,
) -> TorchTask:
    generator = torch.Generator().manual_seed(1)
    inputs, targets = torch.randn(50, 6, generator=generator), torch.arange(50) % 3
    return kind(
        seed=1,
        learners=1,
        batch=8,
        module=wide if hidden else lambda: nn.Linear(6, 3),
        training=Samples(inputs, targets),
        held_out=Samples(inputs[:0], targets[:0]),
        loss=cross_entropy,
        accumulate=accumulate,
        optimizer=optimizer,
        audit=audit,
    )


def both(workload: TorchTask, at: Tensor) -> tuple[Gradient[Any], Gradient[Any]]:
    """A gradient in one vector, and as weights are given it."""
    return GradientOf(workload, at, 0, 3)(), GradientOf(workload, at, 0, 3, loose=True)()


def test_it_is_the_gradient_where_it_was_left() -> None:
    workload = task()
    gradient, loose = both(workload, workload.weights(0).snapshot().vector)
    assert isinstance(loose.vector, Scattered)
    assert loose.vector.gathered().equal(gradient.vector)
    assert loose.loss == gradient.loss


def test_a_step_along_it_is_that_along_the_vector() -> None:
    workload = task()
    for read in (TorchWeights.snapshot, TorchWeights.view):
        flat, scattered = workload.weights(0), workload.weights(0)
        gradient, loose = both(workload, read(flat).vector)
        read(scattered)
        for weights, vector in ((flat, gradient.vector), (scattered, loose.vector)):
            weights.descend(vector, 0.5, (0,))
        torch.testing.assert_close(scattered.snapshot().vector, flat.snapshot().vector)
        assert scattered.versions.freeze() == flat.versions.freeze()


def test_who_needs_a_vector_gets_one() -> None:
    def momentum(parameters: list[Tensor]) -> torch.optim.Optimizer:
        return torch.optim.SGD(parameters, momentum=0.9)

    for workload, clip_norm in ((task(optimizer=momentum), None), (task(audit=True), 0.1)):
        flat, scattered = workload.weights(0), workload.weights(0)
        gradient, loose = both(workload, flat.snapshot().vector)
        for weights, vector in ((flat, gradient.vector), (scattered, loose.vector)):
            weights.clip_norm = clip_norm
            for _ in range(2):
                weights.descend(vector, 0.5, (0,))
        assert scattered.snapshot().vector.equal(flat.snapshot().vector)


def test_a_gradient_that_lies_in_the_weights_is_read_before_they_change() -> None:
    weights = TorchWeights(0, 1, torch.arange(9.0))
    turned: Any = Scattered((weights.view().vector.view(3, 3).t(),))
    expected = torch.arange(9.0).view(3, 3)
    expected = (expected - 0.5 * expected.t()).reshape(-1)
    weights.descend(turned, 0.5, (0,))
    assert weights.snapshot().vector.equal(expected)


def test_a_gradient_that_lies_where_it_is_applied_is_beside_the_weights() -> None:
    vector = torch.arange(9.0)
    first, last = torch.split(vector, [6, 3])
    assert Scattered((first, last)).is_beside(vector)
    assert Scattered((first, last.clone())).is_beside(vector)
    for tensors in ((vector[3:], vector[:3]), (first, first[:3]), (vector.expand(1, 9).t()[::2],)):
        assert not Scattered(tensors).is_beside(vector)
        assert Scattered(tensors).is_beside(vector.clone())


def test_a_gradient_that_lies_where_it_is_applied_is_read_before_that_changes() -> None:
    weights = TorchWeights(0, 1, torch.arange(9.0), tensors=[6, 3])
    own: Any = Scattered(torch.split(weights.view().vector, [6, 3]))
    weights.descend(own, 0.5, (0,))
    assert weights.snapshot().vector.equal(torch.arange(9.0) / 2)


def test_a_gradient_of_one_s_own_is_the_one_that_is_taken() -> None:
    plain, doubled = task(), task(Doubled)
    at = plain.weights(0).snapshot().vector
    gradient, loose = both(doubled, at)
    assert isinstance(loose.vector, Tensor)
    assert loose.vector.equal(gradient.vector)
    assert loose.vector.equal(2 * plain.gradient(at, 0, 3).vector)


def test_few_weights_and_parts_of_a_mini_batch_are_gathered() -> None:
    for workload in (task(hidden=False), task(accumulate=2)):
        gradient, loose = both(workload, workload.weights(0).snapshot().vector)
        assert isinstance(loose.vector, Tensor)
        assert loose.vector.equal(gradient.vector)
