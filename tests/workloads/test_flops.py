"""What a gradient takes, against closed forms that are derived by hand.

A product of [a, b] and [b, c] is 2abc flops. Backward costs as much for the weight's gradient, and
as much again for the input's, which the first layer does not need.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from dualrt.workloads import phantom
from dualrt.workloads.asr.blstm import AcousticModel, frame_cross_entropy
from dualrt.workloads.flops import Work, count

N, T, D, H = 3, 5, 8, 6
"""Samples, frames, width of the input, width of a layer."""

FP32 = 4


def work(module: nn.Module, *inputs: Tensor) -> Work:
    """Of the gradient of the sum of what the module gives."""

    def loss() -> Tensor:
        outputs = module(*inputs)
        first: Tensor = outputs[0] if isinstance(outputs, tuple) else outputs
        return first.sum()

    return count(loss, list(module.parameters()))


def frames(width: int = D) -> Tensor:
    return torch.randn(N, T, width)


def test_a_first_linear_layer_takes_two_products_and_keeps_its_input() -> None:
    assert work(nn.Linear(D, H), frames()) == (2 * 2 * N * T * D * H, FP32 * N * T * D)


def test_a_later_linear_layer_takes_three() -> None:
    two = nn.Sequential(nn.Linear(D, H), nn.ReLU(), nn.Linear(H, 2))
    first, second = 2 * N * T * D * H, 2 * N * T * H * 2
    # What ReLU gives is kept once, although both it and the layer above need it.
    assert work(two, frames()) == (2 * first + 3 * second, FP32 * N * T * (D + H))


def recurrent(gates: int, inputs: int, state: int, *, first: bool) -> int:
    """Of one direction of a layer: no gradient flows into the state before the first frame."""
    from_below, from_state = 2 * N * gates * H * inputs, 2 * N * gates * H * state
    return T * (2 if first else 3) * from_below + (3 * T - 1) * from_state


@pytest.mark.parametrize(("layer", "gates"), [(nn.LSTM, 4), (nn.GRU, 3)], ids=["LSTM", "GRU"])
def test_a_recurrent_layer_takes_its_gates_products_in_every_frame(
    layer: Callable[..., nn.Module], gates: int
) -> None:
    one = layer(D, H, batch_first=True)
    assert work(one, frames()).flops == recurrent(gates, D, H, first=True)
    deep = layer(D, H, 2, batch_first=True, bidirectional=True)
    first = recurrent(gates, D, H, first=True)
    second = recurrent(gates, 2 * H, H, first=False)
    assert work(deep, frames()).flops == 2 * first + 2 * second


def test_an_lstm_with_a_projection_feeds_back_the_projection() -> None:
    projected = 2
    lstm = nn.LSTM(D, H, batch_first=True, proj_size=projected)
    gates = recurrent(4, D, projected, first=True)
    projections = 3 * T * 2 * N * H * projected
    assert work(lstm, frames()).flops == gates + projections


def test_an_lstm_keeps_seven_numbers_a_cell_and_frame() -> None:
    kept = work(nn.LSTM(D, H, batch_first=True), frames()).activation_bytes
    assert kept == FP32 * N * T * (D + 7 * H)


def test_counting_loads_no_compiler() -> None:
    program = """
import sys
import torch
from dualrt.workloads.flops import count
weight = torch.ones(3, requires_grad=True)
count(lambda: weight @ torch.ones(3), [weight])
sys.exit("torch._dynamo" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_the_libraries_are_as_they_were_afterwards() -> None:
    flags = torch.backends.mkldnn.enabled, torch.backends.cudnn.enabled
    work(nn.LSTM(D, H), frames())
    assert (torch.backends.mkldnn.enabled, torch.backends.cudnn.enabled) == flags


def test_a_convolution_takes_a_product_for_every_place_of_its_kernel() -> None:
    one, two = nn.Conv1d(D, H, 3), nn.Conv2d(2, H, 3, stride=2, padding=1)
    line, image = torch.randn(N, D, T), torch.randn(N, 2, 8, 6)
    assert work(one, line).flops == 2 * 2 * N * (T - 2) * D * H * 3
    assert work(two, image).flops == 2 * 2 * N * (4 * 3) * 2 * H * 3 * 3


@pytest.mark.parametrize("groups", [1, 2, D])
def test_a_convolution_in_groups_takes_a_part_of_it_backward_too(groups: int) -> None:
    line = torch.randn(N, D, T)
    apart = nn.Conv1d(D, D, 3, padding=1, groups=groups)
    assert work(apart, line).flops == 2 * 2 * N * T * 3 * D * D // groups
    # Behind another layer the input's gradient is wanted too: three products instead of two.
    behind = nn.Sequential(nn.Conv1d(D, D, 1), apart)
    assert work(behind, line).flops == 2 * 2 * N * T * D * D + 3 * 2 * N * T * 3 * D * D // groups
    wider = nn.ConvTranspose1d(D, D, 3, stride=2, groups=groups)
    assert work(wider, line).flops == 2 * 2 * N * T * 3 * D * D // groups


class SelfAttention(nn.Module):
    """Attention of frames to one another, with or without the table of who attends to whom."""

    def __init__(self, *, table: bool) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(D, 2, batch_first=True)
        self.table = table

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.attention(inputs, inputs, inputs, need_weights=self.table)[0]
        return outputs


PROJECTIONS = 2 * 2 * N * T * D * 3 * D + 3 * 2 * N * T * D * D
"""Query, key and value, which are a first layer, and the output's."""

TABLE = 2 * N * T * T * D
"""Every frame with every other, over all heads: the scores, or the sums that they weigh."""


def test_attention_takes_two_products_forward_and_four_backward() -> None:
    assert work(SelfAttention(table=True), frames()).flops == PROJECTIONS + 6 * TABLE


def test_fused_attention_computes_the_scores_once_more_backward() -> None:
    assert work(SelfAttention(table=False), frames()).flops == PROJECTIONS + 7 * TABLE


def test_attention_asked_for_by_its_name_is_counted_the_same() -> None:
    query = nn.Parameter(torch.randn(N, 2, T, D // 2))
    attend = nn.functional.scaled_dot_product_attention
    found = count(lambda: attend(query, query, query).sum(), [query])
    assert found.flops == 7 * TABLE


def test_what_is_done_element_by_element_counts_as_memory_alone() -> None:
    flops, kept = work(nn.LayerNorm(D), frames())
    # The input, and a mean and a deviation of each frame.
    assert (flops, kept) == (0, FP32 * N * T * (D + 2))
    tokens = torch.zeros(N, T, dtype=torch.long)
    assert work(nn.Embedding(10, D), tokens) == (0, tokens.nbytes)


def test_the_shadow_of_the_acoustic_model_costs_what_the_model_does() -> None:
    model = AcousticModel(260, 6, 512, 256, 32_000)
    features = torch.randn(1, phantom.SEGMENT_FRAMES, 260)
    labels = torch.zeros(1, phantom.SEGMENT_FRAMES, dtype=torch.long)
    found = count(lambda: frame_cross_entropy(model(features), labels), list(model.parameters()))
    assert found.flops == phantom.acoustic_flops()
    # But for the labels and copies of the features.
    assert found.activation_bytes == pytest.approx(phantom.acoustic_activation_bytes(), rel=0.01)
