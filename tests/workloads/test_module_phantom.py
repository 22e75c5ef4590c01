"""A torch module's shadow, against the module itself where its numbers fit."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from dualrt.core.errors import UsageError
from dualrt.workloads import flops
from dualrt.workloads.module_phantom import ModulePhantom
from dualrt.workloads.phantom import (
    AcousticPhantom,
    acoustic_flops,
    acoustic_parameters,
    acoustic_tensors,
)

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
    settings = {"inputs": inputs, **settings}
    return ModulePhantom(seed=0, learners=learners, batch=batch, module=name, **settings)


def costs(module: nn.Module, *inputs: Tensor) -> tuple[float, int]:
    """Flops and bytes of a gradient, counted where there are numbers.

    Weights are read twice and a gradient is written; activations cross four times, and what the
    loss keeps, as large as what the module gives.
    """
    given = 0

    def loss() -> Tensor:
        nonlocal given
        outputs = module(*inputs)
        if isinstance(outputs, dict):
            outputs = (outputs["logits"], outputs["states"][0])
        parts = outputs if isinstance(outputs, tuple) else (outputs,)
        given = sum(part.nbytes for part in parts)
        return torch.stack([part.sum() for part in parts]).sum()

    work = flops.count(loss, list(module.parameters()))
    weights = FP32 * sum(p.numel() for p in module.parameters())
    return work.flops, 3 * weights + 4 * (work.activation_bytes + given)


def test_attention_is_counted_as_where_there_are_numbers() -> None:
    cost = shadow(f"{HERE}:Attends", (5,), dtypes=("int64",)).gradient_cost
    tokens = torch.zeros(6, 5, dtype=torch.int64)
    assert (cost.flops, cost.bytes_moved) == costs(Attends(), tokens)


@pytest.mark.parametrize("batch", [2, 5])
def test_images_are_counted_as_where_there_are_numbers(batch: int) -> None:
    cost = shadow(f"{HERE}:Images", (3, 8, 8), (5,), batch=batch).gradient_cost
    images, weights = torch.zeros(batch, 3, 8, 8), torch.zeros(batch, 5)
    flops_of, bytes_of = costs(Images(), images, weights)
    assert (cost.samples, cost.flops) == (batch, flops_of)
    # What batch norm keeps beside its input differs by a few bytes.
    assert cost.bytes_moved == pytest.approx(bytes_of, rel=0.01)


class Biased(nn.Module):
    """Attention with a learnt bias, of heads that are folded into the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.into, self.bias = nn.Linear(4, 4), nn.Linear(4, 7 * 7)

    def forward(self, inputs: Tensor) -> Tensor:
        x, bias = self.into(inputs), self.bias(inputs).mean(1).unflatten(-1, (7, 7))
        return nn.functional.scaled_dot_product_attention(x, x, value=x, attn_mask=bias)


def test_a_learnt_bias_of_attention_is_learnt() -> None:
    cost = shadow(f"{HERE}:Biased", (7, 4), batch=2).gradient_cost
    rows, attention = 2 * 7, 2 * 7 * 7 * 4
    linear = 2 * rows * 4 * 4 + 2 * rows * 4 * 49
    # Forward and for both weights; two products forward, and five backward.
    assert cost.flops == 2 * linear + (2 + 5) * 2 * attention


class Adapted(nn.Module):
    """A trained layer below one that is frozen, a table and a buffer that no sample changes."""

    def __init__(self) -> None:
        super().__init__()
        self.below, self.above = nn.Linear(8, 8), nn.Linear(8, 8)
        self.above.requires_grad_(False)
        self.places = nn.Parameter(torch.zeros(8))
        self.register_buffer("mixed", torch.zeros(8, 8))

    def forward(self, inputs: Tensor) -> Tensor:
        out: Tensor = self.above(self.below(inputs)) @ self.mixed + self.places.tanh()
        return out


@pytest.mark.parametrize("batch", [2, 64])
def test_what_no_sample_changes_is_counted_once(batch: int) -> None:
    cost = shadow(f"{HERE}:Adapted", (8,), batch=batch).gradient_cost
    trained, frozen = FP32 * (64 + 8 + 8), FP32 * (64 + 8)
    # The input of what is trained, what the loss keeps, and what tanh gave.
    activations = FP32 * (8 * batch + 8 * batch + 8)
    assert cost.bytes_moved == 3 * trained + 2 * frozen + 4 * activations
    # Below: forward and its weight; above it twice: forward and what is below.
    assert cost.flops == 3 * 2 * 2 * batch * 8 * 8


class Answer(NamedTuple):
    """What some modules give."""

    scores: Tensor


@dataclass
class Reply:
    """What others give."""

    scores: Tensor
    note: str = ""


class Wraps(nn.Linear):
    """Gives its tensor in a container."""

    def __init__(self, kind: str) -> None:
        super().__init__(8, 2)
        self.kind = kind

    def forward(self, inputs: Tensor) -> Any:
        out = super().forward(inputs)
        return {"tuple": Answer(out), "dataclass": Reply(out), "list": [out, 3]}[self.kind]


@pytest.mark.parametrize("kind", ["tuple", "dataclass", "list"])
def test_what_a_module_gives_may_be_in_a_container(kind: str) -> None:
    wrapped = shadow(f"{HERE}:Wraps", (8,), arguments={"kind": kind})
    plain = shadow("torch.nn:Linear", (8,), arguments={"in_features": 8, "out_features": 2})
    assert wrapped.gradient_cost == plain.gradient_cost


LOOKED_AT = torch.arange(3.0)
"""Made when this file is loaded, and to be used by whoever loaded it."""


def test_the_file_of_a_module_is_loaded_as_by_anyone_else() -> None:
    found = "import tests.workloads.test_module_phantom as mine; "
    code = (
        "from dualrt.workloads.module_phantom import ModulePhantom as P; "
        f"P(seed=0, learners=1, batch=2, module='{HERE}:Images', inputs=((3, 8, 8), (5,))); "
        f"{found}print(mine.LOOKED_AT.sum().item())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "3.0"


def test_the_acoustic_model_has_the_figures_of_its_own_phantom() -> None:
    name = "dualrt.workloads.asr.blstm:AcousticModel"
    shape = {"inputs": 260, "layers": 6, "cells": 512, "projection": 256, "outputs": 32_000}
    acoustic = shadow(name, (21, 260), batch=1, arguments=shape)
    assert acoustic.gradient_cost.flops == acoustic_flops()
    own = AcousticPhantom(seed=0, learners=2, batch=1).gradient_cost
    assert acoustic.gradient_cost.bytes_moved == pytest.approx(own.bytes_moved, rel=0.03)
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
    frozen, trained, activations = FP32 * (64 + 8), FP32 * 18, 4 * FP32 * 2 * (8 + 2)
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
        ("Attends", {}, "does not name a module"),
        ("no_such_module_anywhere:Net", {}, "there is no module 'no_such_module_anywhere'"),
        (f"{HERE}:Nothing", {}, "has no class or function 'Nothing'"),
        (f"{HERE}:Attends", {"arguments": {"depth": 3}}, r"'depth': 3.*TypeError"),
        (f"{HERE}:no_module", {}, "it makes a int"),
        (f"{HERE}:Frozen", {}, "it has no parameter that needs a gradient"),
        (f"{HERE}:Images", {}, r"inputs of shape \(2, 5\), samples first: TypeError"),
        ("torch.nn:Linear", {"inputs": ((0,),)}, "a size is less than 1"),
        (".here:Net", {}, "does not name a module"),
        (
            "torch.nn:TransformerEncoderLayer",
            {"inputs": ((7, 8),), "arguments": {"d_model": 8, "nhead": 2}},
            "does not grow evenly .* batch_first",
        ),
        (
            "torch.nn:Linear",
            {"arguments": {"in_features": 5, "out_features": 1}, "dtypes": ("f4",)},
            "'f4'",
        ),
        (f"{HERE}:Attends", {"dtypes": ("int64", "bool")}, "there are 1 inputs"),
        (f"{HERE}:Looks", {"arguments": {"in_features": 5, "out_features": 1}}, "must not depend"),
        (
            f"{HERE}:Ignores",
            {"arguments": {"in_features": 5, "out_features": 1}},
            "no tensor that it gives",
        ),
    ],
)
def test_what_cannot_be_counted_is_said(name: str, settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        shadow(name, (5,), **settings)
