"""Parameters as views into one buffer."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from dualrt.core.errors import UsageError
from dualrt.loop.parameters import FlatParameters


class Tied(nn.Module):
    """An embedding that is its own output layer."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(5, 3)
        self.output = nn.Linear(3, 5, bias=False)
        self.output.weight = self.embedding.weight

    def forward(self, words: Tensor) -> Tensor:
        outputs: Tensor = self.output(self.embedding(words))
        return outputs


def test_the_model_is_as_it_was() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    flat = FlatParameters(model)
    after = model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert flat.vector.shape == (3 * 4 + 4 + 4 + 4,)


def test_the_buffer_and_the_parameters_are_one() -> None:
    model = nn.Linear(2, 2)
    flat = FlatParameters(model)
    flat.vector.fill_(3.0)
    assert torch.equal(model.weight, torch.full((2, 2), 3.0))
    with torch.no_grad():
        model.bias.fill_(1.0)
    assert flat.vector.tolist() == [3.0] * 4 + [1.0] * 2


def test_what_is_used_twice_is_there_once() -> None:
    model = Tied()
    assert FlatParameters(model).sizes == (15,)
    assert model.output.weight is model.embedding.weight
    model(torch.tensor([1])).sum().backward()
    assert model.embedding.weight.grad is not None


def test_frozen_parameters_stay_outside() -> None:
    model = nn.Linear(2, 2)
    model.bias.requires_grad_(False)
    assert FlatParameters(model).sizes == (4,)


def test_the_format_of_memory_is_kept() -> None:
    model = nn.Conv2d(3, 4, 2).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch knows it
    before = model.weight.detach().clone()
    flat = FlatParameters(model)
    assert model.weight.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(model.weight, before)
    flat.check()


def test_gradients_travel_and_come_back() -> None:
    used, idle = nn.Linear(2, 2), nn.Linear(2, 1)
    flat = FlatParameters(nn.Sequential(used, idle))
    used(torch.ones(1, 2)).sum().backward()
    gradient = flat.gradient()
    assert gradient.tolist() == [1.0] * 6 + [0.0] * 3
    flat.set_gradient(2 * gradient)
    assert used.weight.grad is not None
    assert used.weight.grad.tolist() == [[2.0, 2.0], [2.0, 2.0]]
    # Nobody had one: an optimizer passes it over, and no momentum moves it.
    assert idle.weight.grad is None
    flat.set_gradient(torch.ones(9))
    assert idle.weight.grad is not None


def test_once_released_they_are_saved_like_any_parameters(tmp_path: Path) -> None:
    model = nn.Linear(3, 3)
    flat = FlatParameters(model)
    flat.vector.fill_(2.0)
    flat.release()
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    assert load_file(tmp_path / "model.safetensors")["bias"].tolist() == [2.0] * 3
    flat.vector.fill_(3.0)
    assert model.bias.tolist() == [2.0] * 3


def test_what_is_loaded_goes_into_the_buffer() -> None:
    model = nn.Linear(3, 3)
    flat = FlatParameters(model)
    model.load_state_dict({"weight": torch.ones(3, 3), "bias": torch.zeros(3)})
    flat.check()
    assert flat.vector.tolist() == [1.0] * 9 + [0.0] * 3


def of_two_types() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2).double())


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.ReLU(), "ReLU has no parameter that requires a gradient"),
        (of_two_types(), r"several types \(torch\.float32, torch\.float64\)"),
        (nn.LazyLinear(2), "is a UninitializedParameter"),
        (nn.Linear(2, 2, device="meta"), "has no values"),
    ],
)
def test_what_one_buffer_cannot_hold_is_refused(model: nn.Module, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        FlatParameters(model)


def test_what_an_optimizer_steps_must_be_among_the_parameters() -> None:
    model, stranger = nn.Linear(2, 2), nn.Parameter(torch.zeros(2))
    with pytest.raises(UsageError, match="steps 1 tensors that are no parameters of Linear"):
        FlatParameters(model).require([*model.parameters(), stranger])
