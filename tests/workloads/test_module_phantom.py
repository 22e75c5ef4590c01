"""A torch module's shadow, against the module itself where its numbers fit."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dualrt.core.errors import UsageError
from dualrt.workloads import flops
from dualrt.workloads.module_phantom import ModulePhantom
from dualrt.workloads.phantom import acoustic_flops, acoustic_parameters, acoustic_tensors

HERE = __name__
"""Where the modules below are found."""

FP32 = 4


class Attends(nn.Module):
    """Token indices in, two tensors out; a mask, attention, norms and tied weights."""

    def __init__(self, width: int = 16, heads: int = 2, layers: int = 2) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, width)
        layer = nn.TransformerEncoderLayer(
            width, heads, 4 * width, dropout=0.0, batch_first=True, norm_first=True
        )
        self.body = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.head = nn.Linear(width, 11, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> dict[str, Any]:
        mask = nn.Transformer.generate_square_subsequent_mask(tokens.shape[1])
        hidden = self.body(self.embedding(tokens), mask=mask, is_causal=True)
        return {"logits": self.head(hidden), "states": (hidden, tokens)}


class Images(nn.Module):
    """Two inputs of different types; batch norm, which takes no single sample."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten())
        self.head = nn.Linear(4 * 6 * 6, 5)

    def forward(self, images: Tensor, weights: Tensor) -> Tensor:
        out: Tensor = self.head(self.body(images)) * weights
        return out


class HalfFrozen(nn.Sequential):
    """Two layers, of which the first is not trained."""

    def __init__(self) -> None:
        super().__init__(nn.Linear(8, 8), nn.Linear(8, 2))
        self[0].requires_grad_(False)


class Looks(nn.Linear):
    """Does what depends on a number."""

    def forward(self, inputs: Tensor) -> Tensor:
        out = super().forward(inputs)
        return out if out.sum().item() > 0 else -out


class Frozen(nn.Linear):
    """Nothing to train."""

    def __init__(self) -> None:
        super().__init__(2, 2)
        self.requires_grad_(False)


class Ignores(nn.Linear):
    """What it gives depends on no parameter."""

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs


def no_module() -> int:
    return 7


def shadow(
    name: str, *inputs: tuple[int, ...], batch: int = 6, learners: int = 2, **settings: Any
) -> ModulePhantom:
    return ModulePhantom(
        seed=0, learners=learners, batch=batch, module=name, inputs=inputs, **settings
    )


def counted(module: nn.Module, *inputs: Tensor) -> flops.Work:
    def loss() -> Tensor:
        outputs = module(*inputs)
        if isinstance(outputs, dict):
            logits, states = outputs["logits"], outputs["states"][0]
            both: Tensor = logits.sum() + states.sum()
            return both
        first: Tensor = outputs[0] if isinstance(outputs, tuple) else outputs
        return first.sum()

    return flops.count(loss, [one for one in module.parameters() if one.requires_grad])


def bytes_of(work: flops.Work, module: nn.Module) -> int:
    """Of a gradient: weights read twice and a gradient written, and activations four times."""
    return 3 * FP32 * sum(p.numel() for p in module.parameters()) + 4 * work.activation_bytes


def test_attention_is_counted_as_where_there_are_numbers() -> None:
    module, tokens = Attends(), torch.zeros(6, 5, dtype=torch.int64)
    cost = shadow(f"{HERE}:Attends", (5,), dtypes=("int64",)).gradient_cost
    work = counted(module, tokens)
    assert cost.flops == work.flops
    assert cost.bytes_moved == bytes_of(work, module)


def test_images_are_counted_as_where_there_are_numbers() -> None:
    module = Images()
    cost = shadow(f"{HERE}:Images", (3, 8, 8), (5,), batch=4).gradient_cost
    work = counted(module, torch.zeros(4, 3, 8, 8), torch.zeros(4, 5))
    assert (cost.samples, cost.flops) == (4, work.flops)
    # What batch norm keeps does not grow with the batch.
    assert cost.bytes_moved == pytest.approx(bytes_of(work, module), rel=0.01)


def test_the_acoustic_model_has_the_figures_of_its_own_phantom() -> None:
    name = "dualrt.workloads.asr.blstm:AcousticModel"
    shape = {"inputs": 260, "layers": 6, "cells": 512, "projection": 256, "outputs": 32_000}
    acoustic = shadow(name, (21, 260), batch=1, arguments=shape)
    assert acoustic.gradient_cost.flops == acoustic_flops()
    assert acoustic.weights(0).nbytes == FP32 * acoustic_parameters()
    assert acoustic.weights(0).tensors_bytes == tuple(FP32 * size for size in acoustic_tensors())


def test_a_model_larger_than_this_machine_is_counted() -> None:
    wide = {"in_features": 200_000, "out_features": 200_000}
    large = shadow("torch.nn:Linear", (200_000,), batch=1, arguments=wide, learners=1)
    assert large.weights(0).nbytes == FP32 * (200_000**2 + 200_000)
    # Forward, and for the weight; the input needs no gradient.
    assert large.gradient_cost.flops == 2 * 2 * 200_000**2


def test_what_is_frozen_is_computed_with_and_not_sent() -> None:
    half = shadow(f"{HERE}:HalfFrozen", (8,), batch=2)
    assert half.weights(0).tensors_bytes == (FP32 * 16, FP32 * 2)
    assert half.gradient_cost.flops == 2 * 2 * 8 * 8 + 2 * 2 * 2 * 8 * 2
    frozen, trained, activations = FP32 * (64 + 8), FP32 * 18, 4 * FP32 * 2 * 8
    assert half.gradient_cost.bytes_moved == 2 * frozen + 3 * trained + activations


def test_parts_read_the_weights_again() -> None:
    shape = {"in_features": 8, "out_features": 2}
    once = shadow("torch.nn:Linear", (8,), arguments=shape)
    twice = shadow("torch.nn:Linear", (8,), arguments=shape, accumulate=2, precision="bfloat16")
    assert (twice.gradient_cost.parts, twice.gradient_cost.precision) == (2, "bfloat16")
    assert twice.gradient_cost.flops == once.gradient_cost.flops
    assert twice.gradient_cost.bytes_moved - once.gradient_cost.bytes_moved == 6 * FP32 * 18


@pytest.mark.parametrize(
    ("name", "settings", "problem"),
    [
        ("Attends", {}, "it does not say where it is"),
        ("no_such_module_anywhere:Net", {}, "No module named 'no_such_module_anywhere'"),
        (f"{HERE}:Nothing", {}, "has no class or function Nothing"),
        (f"{HERE}:Attends", {"arguments": {"depth": 3}}, r"'depth': 3.*TypeError"),
        (f"{HERE}:no_module", {}, "it makes a int"),
        (f"{HERE}:Frozen", {}, "it has no parameter that needs a gradient"),
        (f"{HERE}:Images", {}, r"inputs of shape \(2, 5\) .*TypeError"),
        (
            "torch.nn:Linear",
            {"arguments": {"in_features": 5, "out_features": 1}, "dtypes": ("f4",)},
            "'f4'",
        ),
        (f"{HERE}:Attends", {"dtypes": ("int64", "bool")}, "there are 1 inputs"),
        (f"{HERE}:Looks", {"arguments": {"in_features": 5, "out_features": 1}}, "must not depend"),
        (f"{HERE}:Ignores", {"arguments": {"in_features": 5, "out_features": 1}}, "no parameter"),
    ],
)
def test_what_cannot_be_counted_is_said(name: str, settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        shadow(name, (5,), **settings)
