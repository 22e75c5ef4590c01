from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dualrt.workloads.asr.blstm import (
    FP32_BYTES,
    AcousticModel,
    frame_accuracy,
    frame_cross_entropy,
    parameter_count,
)


def counted(model: AcousticModel) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def test_the_papers_model_weighs_what_the_papers_say() -> None:
    shape = {"inputs": 260, "layers": 6, "cells": 512, "projection": 256, "outputs": 32_000}
    assert parameter_count(**shape) == 43_154_944
    assert round(parameter_count(**shape) * FP32_BYTES / 2**20, 2) == 164.62
    with torch.device("meta"):
        assert counted(AcousticModel(**shape)) == 43_154_944


@given(*[st.integers(1, 9)] * 5)
def test_the_count_is_that_of_the_network(
    inputs: int, layers: int, cells: int, projection: int, outputs: int
) -> None:
    with torch.device("meta"):
        model = AcousticModel(inputs, layers, cells, projection, outputs)
    assert counted(model) == parameter_count(inputs, layers, cells, projection, outputs)


def test_each_frame_of_a_segment_gets_a_logit_a_label() -> None:
    assert AcousticModel(120, 2, 8, 4, 40)(torch.zeros(3, 21, 120)).shape == (3, 21, 40)


def test_a_frame_is_judged_by_what_comes_before_and_after() -> None:
    torch.manual_seed(0)
    model = AcousticModel(5, 1, 8, 4, 3)
    features = torch.randn(1, 21, 5, requires_grad=True)
    torch.autograd.backward(model(features)[0, 10].sum())
    assert features.grad is not None
    assert (features.grad[0].abs().sum(dim=1) > 0).all()


def test_ignorance_costs_the_logarithm_of_the_number_of_labels() -> None:
    labels = torch.randint(0, 40, (3, 21), generator=torch.Generator().manual_seed(0))
    assert math.isclose(
        float(frame_cross_entropy(torch.zeros(3, 21, 40), labels)), math.log(40), rel_tol=1e-6
    )


def test_accuracy_is_the_share_of_frames_that_are_right() -> None:
    logits = torch.eye(4)[torch.tensor([[0, 1], [2, 3]])]
    assert frame_accuracy(logits, torch.tensor([[0, 1], [2, 0]])) == pytest.approx(0.75)


def test_a_few_steps_of_descent_lower_the_loss() -> None:
    torch.manual_seed(0)
    model = AcousticModel(6, 1, 16, 8, 3)
    features = torch.randn(16, 21, 6)
    labels = features[..., :3].argmax(-1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.9)
    losses = []
    for _ in range(40):
        loss = frame_cross_entropy(model(features), labels)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]
