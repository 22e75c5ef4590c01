"""Threads change one vector in CUDA streams of their own: what a lock does not order, events do."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from dualrt.core.weights import Snapshot
from dualrt.workloads.torch_optimizer import OptimizerFactory, sgd
from dualrt.workloads.torch_order import AtOnce, Handed, Order, order_on
from dualrt.workloads.torch_vectors import BLEND, fused_blend
from dualrt.workloads.torch_weights import TorchWeights
from tests.support.changes import IN_LINE, changes, normal
from tests.support.late import LateDevice, LateOrder


def on_time(weights: TorchWeights, seed: int) -> list[Tensor]:
    """What threads read, and the weights in the end, where all is done when it is asked for."""
    return [*changes(weights, seed), weights._flat.detach()]


def on(device: LateDevice, weights: TorchWeights, seed: int) -> list[Tensor]:
    """The same where it is done late."""
    read = changes(weights, seed, [device.lane() for _ in IN_LINE])
    device.settle()
    return [*read, weights._flat.detach()]


def late(seed: int) -> LateDevice:
    random = Random(seed)
    return LateDevice(lambda: random.choice((0, 0, 1, 2)))


@pytest.mark.parametrize("optimizer", [sgd(), sgd(momentum=0.9, weight_decay=0.1)])
@given(seed=st.integers(0, 2**32), clip=st.sampled_from([None, 2.0]))
def test_whatever_is_late_the_weights_are_those_of_the_order_of_the_lock(
    optimizer: OptimizerFactory | None, seed: int, clip: float | None
) -> None:
    def weights(order: Order) -> TorchWeights:
        made = TorchWeights(0, 2, normal(0), optimizer, audit=True, order=order)
        made.clip_norm = clip
        return made

    device = late(seed)
    expected = on_time(weights(AtOnce()), seed)
    came = on(device, weights(LateOrder(device)), seed)
    for ours, theirs in zip(came, expected, strict=True):
        assert torch.equal(ours, theirs)
    assert not device.unlent


def test_the_late_device_shows_what_nobody_ordered() -> None:
    """Or the above would prove nothing."""
    wrong = 0
    for seed in range(20):
        device = late(seed)
        came = on(device, TorchWeights(0, 2, normal(0), order=AtOnce()), seed)
        expected = on_time(TorchWeights(0, 2, normal(0)), seed)
        wrong += not all(map(torch.equal, came, expected))
        assert device.unlent
    assert wrong > 10


@given(st.integers(0, 2**32))
def test_a_fused_blend_is_ordered_like_one_by_blocks(seed: int) -> None:
    def fused(own: Tensor, theirs: Tensor, mine: Tensor, share: float) -> Tensor:
        return own + share * (theirs - mine)

    device = late(seed)
    weights = TorchWeights(0, 2, normal(0), order=LateOrder(device))
    weights._fused = fused
    expected = on_time(TorchWeights(0, 2, normal(0)), seed)
    for ours, theirs in zip(on(device, weights, seed), expected, strict=True):
        torch.testing.assert_close(ours, theirs)
    assert not device.unlent


def test_a_fused_blend_leaves_snapshots_and_the_optimizers_tensor_alone() -> None:
    weights = TorchWeights(0, 1, normal(0), sgd(momentum=0.9))
    weights._fused = lambda own, theirs, mine, share: own + share * (theirs - mine)
    tensor, shown = weights._flat, weights.snapshot().vector
    weights.blend(Snapshot(normal(1), (0,)), Snapshot(normal(2), (0,)), 0.5)
    assert weights._flat is tensor
    assert torch.equal(shown, normal(0))
    torch.testing.assert_close(tensor, normal(0) + 0.5 * (normal(2) - normal(1)))
    before = weights.snapshot().vector
    weights.descend(normal(3), 0.1, (0,))
    torch.testing.assert_close(weights.snapshot().vector, before - 0.1 * normal(3))


def test_what_is_handed_over_is_as_it_was_then() -> None:
    device = LateDevice()
    giver, taker = device.lane(), device.lane()
    given = normal(1)
    with giver.use():
        vector = given * 2
        order = LateOrder(device)
        order.end()
        handed = Handed(vector, order)
    with taker.use():
        copy = handed.taken().clone()
    taker.mark().wait()
    assert torch.equal(copy, normal(1) * 2)
    assert not device.unlent
    # Of a vector on the CPU there is nothing to order.
    assert Handed.over(vector).taken() is vector
    assert order_on(torch.device("cpu")) is order_on(torch.device("cpu"))


def test_the_kernel_of_a_fused_blend_is_one_that_torch_can_read() -> None:
    made: Any = torch.cuda.jiterator._create_jit_fn(BLEND, share=0.0)
    assert made.kernel_name == "blend"
    # It is for CUDA alone; elsewhere a blend goes by blocks.
    assert fused_blend("cpu") is None
