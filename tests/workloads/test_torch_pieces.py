"""A gradient in pieces: the same numbers, each piece as soon as it is final."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from dualrt.core.workload import PiecewiseWorkload
from dualrt.workloads.torch_task import Samples, TorchTask

SIZES = (30, 5, 15, 3)
"""Parameters of the tensors of `network`."""


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3))


class Unused(nn.Module):
    """Its last tensor has no part in the output."""

    def __init__(self) -> None:
        super().__init__()
        self.used, self.unused = nn.Linear(6, 3), nn.Linear(2, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.used(inputs)
        return outputs


class Backwards(nn.Module):
    """Its first layer is registered last, so gradients are final in an order of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.second, self.first = nn.Linear(5, 3), nn.Linear(6, 5)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.second(torch.tanh(self.first(inputs)))
        return outputs


def task(module: Callable[[], nn.Module] = network) -> TorchTask:
    generator = torch.Generator().manual_seed(1)
    training = Samples(
        torch.randn(50, 6, generator=generator), torch.randint(0, 3, (50,), generator=generator)
    )
    return TorchTask(
        seed=1,
        learners=2,
        batch=8,
        module=module,
        training=training,
        held_out=Samples(*(part[:0] for part in training)),
        loss=nn.functional.cross_entropy,
    )


def in_pieces(
    workload: TorchTask, tensors: list[int], share: float = 1.0
) -> tuple[Tensor, list[Tensor]]:
    """The whole, and the pieces of so many parameters each, as they were when they were told."""
    told: list[Tensor] = []
    at = workload.weights(0).snapshot().vector
    gradient = workload.gradient_in_pieces(
        at, 0, 0, [4 * size for size in tensors], share, lambda piece: told.append(piece.clone())
    )
    return gradient.vector, told


@pytest.mark.parametrize("tensors", [[53], [3, 15, 5, 30], [18, 35], [23, 30]])
def test_pieces_are_the_gradient_from_its_end_on(tensors: list[int]) -> None:
    workload = task()
    whole, told = in_pieces(workload, tensors)
    assert [len(piece) for piece in told] == tensors
    assert torch.cat(told[::-1]).equal(whole)
    at = workload.weights(0).snapshot().vector
    assert whole.equal(workload.gradient(at, 0, 0).vector)


def test_a_share_of_it_is_given() -> None:
    whole, _ = in_pieces(task(), [18, 35])
    half, _ = in_pieces(task(), [18, 35], share=0.5)
    assert half.equal(whole / 2)


def test_a_piece_is_told_before_the_backward_pass_is_over() -> None:
    workload = task()
    first = next(workload._module.parameters())
    untouched: list[bool] = []
    at = workload.weights(0).snapshot().vector
    workload.gradient_in_pieces(
        at, 0, 0, [4 * 18, 4 * 35], 1.0, lambda _: untouched.append(first.grad is None)
    )
    # The first layer's gradient comes last, and is gone again when the last piece is told.
    assert untouched == [True, True]
    order: list[str] = []
    hook = first.register_hook(lambda _: order.append("gradient of the first layer"))
    workload.gradient_in_pieces(at, 0, 0, [4 * 18, 4 * 35], 1.0, lambda _: order.append("piece"))
    hook.remove()
    assert order == ["piece", "gradient of the first layer", "piece"]


def test_pieces_come_in_their_order_whatever_autograd_s() -> None:
    workload = task(Backwards)
    whole, told = in_pieces(workload, [5, 30, 3, 15])
    assert [len(piece) for piece in told] == [5, 30, 3, 15]
    assert torch.cat(told[::-1]).equal(whole)


def test_what_the_loss_does_not_depend_on_counts_as_zero() -> None:
    workload = task(Unused)
    whole, told = in_pieces(workload, [2, 4, 3, 18])
    assert [bool(piece.any()) for piece in told] == [False, False, True, True]
    at = workload.weights(0).snapshot().vector
    assert whole.equal(workload.gradient(at, 0, 0).vector)


def test_nothing_is_left_on_the_module() -> None:
    workload = task()
    in_pieces(workload, [18, 35])
    assert all(parameter.grad is None for parameter in workload._module.parameters())
    assert not any(p._post_accumulate_grad_hooks for p in workload._module.parameters())


def test_a_task_offers_pieces() -> None:
    assert isinstance(task(), PiecewiseWorkload)
