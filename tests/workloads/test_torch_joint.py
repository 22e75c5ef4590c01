"""Gradients of many learners in one go: equal to those taken one by one, or not offered."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from dualrt.core.weights import Gradient
from dualrt.core.workload import GradientOf, JointWorkload
from dualrt.workloads.torch_joint import FEW, SMALL_PARAMETERS, JointModule
from dualrt.workloads.torch_task import Samples, TorchTask

pytestmark = pytest.mark.usefixtures("one_torch_thread")

LEARNERS, FRAMES, FEATURES, CLASSES = 16, 3, 4, 5
TOLERANCE = 1e-6
"""Of the norm."""


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.frames = nn.LSTM(FEATURES, CLASSES, batch_first=True)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.frames(inputs.reshape(-1, FRAMES, FEATURES))[0][:, -1]
        return outputs


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(12, 12), nn.Linear(12, 12)
        self.second.weight = self.first.weight
        self.last = nn.Linear(12, CLASSES)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.last(torch.tanh(self.second(torch.tanh(self.first(inputs)))))
        return outputs


class Spare(nn.Module):
    """With a parameter that the loss does not use."""

    def __init__(self) -> None:
        super().__init__()
        self.used, self.spare = nn.Linear(12, CLASSES), nn.Parameter(torch.ones(4))

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.used(inputs)
        return outputs


class Looking(nn.Module):
    """What it does depends on the values."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Linear(12, CLASSES)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.one(inputs)
        return outputs if outputs.sum().item() > 0 else outputs * 2


class Renormed(nn.Module):
    """Writes to its parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(4, CLASSES, max_norm=0.1)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.table(inputs[:, 0].abs().long().clamp(max=3))
        return outputs


def perceptron() -> nn.Module:
    return nn.Sequential(nn.Linear(12, 7), nn.ReLU(), nn.Linear(7, CLASSES))


def normalised() -> nn.Module:
    return nn.Sequential(nn.Linear(12, 8), nn.LayerNorm(8), nn.GELU(), nn.Linear(8, CLASSES))


def convolution() -> nn.Module:
    return nn.Sequential(
        nn.Unflatten(1, (1, 3, 4)),
        nn.Conv2d(1, 4, 2),
        nn.GroupNorm(2, 4),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(24, CLASSES),
    )


def half_frozen() -> nn.Module:
    module = nn.Sequential(nn.Linear(12, 7), nn.Tanh(), nn.Linear(7, CLASSES))
    module[0].requires_grad_(False)
    return module


def random() -> nn.Module:
    return nn.Sequential(nn.Linear(12, 30), nn.Dropout(0.5), nn.Linear(30, CLASSES))


def large() -> nn.Module:
    return nn.Linear(12, SMALL_PARAMETERS // 12)


TAKEN: Sequence[Callable[[], nn.Module]] = (
    perceptron,
    normalised,
    convolution,
    half_frozen,
    Tied,
    Spare,
)

REFUSED: Sequence[Callable[[], nn.Module]] = (Recurrent, random, Looking, Renormed, large)


def task(module: Callable[[], nn.Module], *, batch: int = 8) -> TorchTask:
    generator = torch.Generator().manual_seed(1)
    samples = Samples(
        torch.randn(100, 12, generator=generator),
        torch.randint(0, CLASSES, (100,), generator=generator),
    )
    return TorchTask(
        seed=1,
        learners=LEARNERS,
        batch=batch,
        module=module,
        training=samples,
        held_out=samples,
        loss=nn.functional.cross_entropy,
    )


def asked_of(workload: TorchTask, draws: Sequence[int]) -> list[GradientOf[Tensor]]:
    """A gradient for each draw, by learners in turn, each at weights of its own."""
    at = workload.weights(0).snapshot().vector
    generator = torch.Generator().manual_seed(2)
    return [
        GradientOf(
            workload, at + 0.1 * torch.randn(len(at), generator=generator), n % LEARNERS, draw
        )
        for n, draw in enumerate(draws)
    ]


def assert_alike(taken: Gradient[Tensor], alone: Gradient[Tensor]) -> None:
    assert taken.vector.shape == alone.vector.shape
    assert float((taken.vector - alone.vector).norm()) <= TOLERANCE * float(alone.vector.norm())
    assert taken.loss == pytest.approx(alone.loss, rel=TOLERANCE)


@pytest.mark.parametrize("module", TAKEN)
def test_gradients_taken_together_are_those_taken_one_by_one(
    module: Callable[[], nn.Module],
) -> None:
    workload = task(module)
    assert workload.gradients_at_once > FEW
    asked = asked_of(workload, range(LEARNERS))
    for taken, one in zip(workload.gradients(asked), asked, strict=True):
        assert_alike(taken, one())


@settings(max_examples=25, deadline=None)
@given(draws=st.lists(st.integers(0, 100), max_size=40), batch=st.integers(1, 32))
def test_they_are_for_any_draws_of_any_number_of_learners(draws: list[int], batch: int) -> None:
    workload = task(perceptron, batch=batch)
    asked = asked_of(workload, draws)
    for taken, one in zip(workload.gradients(asked), asked, strict=True):
        assert_alike(taken, one())


@pytest.mark.parametrize("module", REFUSED)
def test_a_module_that_cannot_or_does_not_gain_says_so(module: Callable[[], nn.Module]) -> None:
    assert task(module).gradients_at_once == 1


def test_much_arithmetic_is_nothing_to_gain_from() -> None:
    joint = JointModule(perceptron(), nn.functional.cross_entropy)
    samples = torch.zeros(2, 8, 12), torch.zeros(2, 8, dtype=torch.int64)
    assert joint.at_once(1e6, *samples) > 1
    assert joint.at_once(1e8, *samples) == 1


def test_what_is_kept_of_a_stack_is_bounded() -> None:
    small, larger = task(perceptron), task(lambda: nn.Linear(12, 4_000))
    assert 1 < larger.gradients_at_once < small.gradients_at_once <= 256


def test_points_are_only_read_and_results_do_not_share_memory() -> None:
    workload = task(perceptron)
    asked = asked_of(workload, range(LEARNERS))
    kept = [one.at.clone() for one in asked]
    taken = workload.gradients(asked)
    assert all(torch.equal(one.at, at) for one, at in zip(asked, kept, strict=True))
    assert not any(one.at.requires_grad for one in asked)
    size = taken[0].vector.nbytes
    assert [gradient.vector.untyped_storage().nbytes() for gradient in taken] == [size] * LEARNERS
    assert not any(gradient.vector.requires_grad for gradient in taken)


def test_the_module_and_torchs_generator_are_left_alone() -> None:
    workload = task(perceptron)
    torch.manual_seed(1)
    state = torch.get_rng_state()
    asked = asked_of(workload, range(LEARNERS))
    before = asked[0]()
    workload.gradients(asked)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(asked[0]().vector, before.vector)


def test_the_offer_is_the_cores() -> None:
    assert isinstance(task(perceptron), JointWorkload)
