"""A gradient on a GPU is that of the CPU, whatever the recipe; a blend is one kernel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dualrt.core.weights import Snapshot
from dualrt.workloads.torch_optimizer import sgd
from dualrt.workloads.torch_task import TorchTask
from dualrt.workloads.torch_vectors import fused_blend
from dualrt.workloads.torch_weights import TorchWeights
from tests.gpu.workloads import perceptron, recurrent
from tests.support.changes import normal

pytestmark = pytest.mark.gpu


def distance(ours: Tensor, theirs: Tensor) -> float:
    return float((ours.cpu() - theirs).norm() / theirs.norm())


@pytest.mark.parametrize("make", [perceptron, recurrent])
@pytest.mark.parametrize(
    ("recipe", "far"),
    [({}, 1e-2), ({"accumulate": 4}, 1e-2), ({"precision": "bfloat16"}, 0.05)],
    ids=["plain", "in parts", "bfloat16"],
)
def test_a_gradient_is_that_of_the_cpu(
    cuda: torch.device, make: Callable[..., TorchTask], recipe: dict[str, Any], far: float
) -> None:
    here, there = make(), make(device=str(cuda), **recipe)
    at = here.weights(0).snapshot().vector
    for draw in range(3):
        at = at + 0.01 * normal(draw, len(at))
        expected = here.gradient(at, 1, draw)
        gradient = there.gradient(at.to(cuda), 1, draw)
        assert gradient.vector.device == cuda
        assert gradient.vector.dtype == torch.float32
        assert distance(gradient.vector, expected.vector) < far
        assert gradient.loss == pytest.approx(expected.loss, rel=far)


def test_pieces_come_as_they_do_on_the_cpu(cuda: torch.device) -> None:
    here, there = perceptron(), perceptron(device=str(cuda), accumulate=2)
    at = here.weights(0).snapshot().vector
    sizes = there.weights(0).tensors_bytes[::-1]
    told: list[Tensor] = []
    whole = there.gradient_in_pieces(at.to(cuda), 0, 2, sizes, 0.5, told.append)
    assert torch.equal(torch.cat(told[::-1]), whole.vector)
    assert distance(whole.vector, 0.5 * here.gradient(at, 0, 2).vector) < 1e-2


def test_a_module_reads_a_snapshot_where_it_is_but_for_a_recurrent_one(cuda: torch.device) -> None:
    for make, where_it_is in ((perceptron, True), (recurrent, False)):
        workload = make(device=str(cuda))
        at = workload.weights(0).snapshot().vector
        large = at if at.nbytes > 1 << 20 else at.clone()
        workload.gradient(large, 0, 0)
        assert (workload._parameters[0].data_ptr() == large.data_ptr()) is where_it_is


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("wire", [None, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("size", [1, 1_000, 20_000_001])
def test_a_blend_is_one_kernel_in_full_precision(
    cuda: torch.device, dtype: torch.dtype, wire: torch.dtype | None, size: int
) -> None:
    own, mine, theirs = (normal(seed, size).to(cuda, dtype) for seed in range(3))
    mine, theirs = (one if wire is None else one.to(wire) for one in (mine, theirs))
    expected = own + 0.25 * (theirs.to(dtype) - mine.to(dtype))
    weights = TorchWeights(0, 1, own, sgd(momentum=0.9))
    shown = weights.snapshot().vector
    for start in (own, expected):
        weights.blend(Snapshot(mine, (0,)), Snapshot(theirs, (0,)), 0.25)
        after = start + 0.25 * (theirs.to(dtype) - mine.to(dtype))
        torch.testing.assert_close(weights.snapshot().vector, after)
    assert torch.equal(shown, own)
    assert fused_blend("cuda") is not None


def test_a_blend_takes_no_memory_but_the_new_vector(cuda: torch.device) -> None:
    weights = TorchWeights(0, 1, normal(0, 10_000_000).to(cuda))
    mine, theirs = (Snapshot(normal(seed, 10_000_000).to(cuda), (0,)) for seed in (1, 2))
    weights.blend(mine, theirs, 0.5)
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats(cuda)
    before = torch.cuda.memory_allocated(cuda)
    weights.blend(mine, theirs, 0.5)
    peak = torch.cuda.max_memory_allocated(cuda)
    assert peak - before <= weights.nbytes + (1 << 21)


@pytest.mark.parametrize("most", [0.5, 1e4])
def test_clipping_is_torchs_own(cuda: torch.device, most: float) -> None:
    start, gradient = normal(0, 10_000), normal(1, 10_000)
    weights = TorchWeights(0, 1, start.to(cuda))
    weights.clip_norm = most
    weights.descend(gradient.to(cuda), 0.1, (0,))
    parameter = nn.Parameter(start.clone())
    parameter.grad = gradient.clone()
    nn.utils.clip_grad_norm_([parameter], most)
    torch.testing.assert_close(
        weights.snapshot().vector.cpu(), start - 0.1 * parameter.grad, rtol=1e-5, atol=1e-6
    )
