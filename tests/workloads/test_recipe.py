"""How a gradient is taken: in which precision, in how many parts, and how large it may be."""

from __future__ import annotations

import json

import pytest
import torch
from torch import Tensor, nn

from dualrt import api
from dualrt.composition import Composition
from dualrt.core.effects import Cost
from dualrt.core.errors import ScenarioError, UsageError
from dualrt.scenario import load
from dualrt.sim.device import DeviceSpec
from dualrt.workloads.asr.blstm import AcousticModel, frame_cross_entropy
from dualrt.workloads.phantom import AcousticPhantom, Phantom
from dualrt.workloads.torch_optimizer import OptimizerFactory, sgd
from dualrt.workloads.torch_task import Samples, TorchTask, keep_recurrent_full
from dualrt.workloads.torch_weights import TorchWeights
from tests.support.processes import ended, started

FAR = 1e-6
"""How far two gradients may be apart, by the norm of one."""


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def perceptron(precision: str = "float32", accumulate: int = 1) -> TorchTask:
    return TorchTask(
        seed=1,
        learners=2,
        batch=12,
        module=lambda: nn.Sequential(nn.Linear(6, 20), nn.Tanh(), nn.Linear(20, 3)),
        training=Samples(normal(1, 50, 6), torch.arange(50) % 3),
        held_out=Samples(normal(2, 0, 6), torch.arange(0)),
        loss=nn.functional.cross_entropy,
        precision=precision,
        accumulate=accumulate,
    )


def recurrent(precision: str = "float32", accumulate: int = 1) -> TorchTask:
    return TorchTask(
        seed=1,
        learners=2,
        batch=12,
        module=lambda: AcousticModel(5, 2, 6, 4, 7),
        training=Samples(normal(1, 50, 3, 5), torch.arange(150).reshape(50, 3) % 7),
        held_out=Samples(normal(2, 0, 3, 5), torch.zeros(0, 3, dtype=torch.int64)),
        loss=frame_cross_entropy,
        precision=precision,
        accumulate=accumulate,
    )


def distance(a: Tensor, b: Tensor) -> float:
    return float((a - b).norm() / b.norm())


@pytest.mark.parametrize("make", [perceptron, recurrent])
@pytest.mark.parametrize("parts", [2, 3, 12])
def test_a_mini_batch_in_parts_has_the_gradient_of_the_whole(make: type, parts: int) -> None:
    whole, cut = make(), make(accumulate=parts)
    at = whole.weights(0).snapshot().vector
    expected = whole.gradient(at, 1, 3)
    gradient = cut.gradient(at, 1, 3)
    assert distance(gradient.vector, expected.vector) < FAR
    assert gradient.loss == pytest.approx(expected.loss, rel=FAR)
    # Not the gradient of one of the parts alone, nor of a sum: it must matter what is drawn.
    assert distance(cut.gradient(at, 1, 4).vector, expected.vector) > 0.1


@pytest.mark.parametrize("parts", [1, 4])
def test_so_has_one_that_is_told_piece_by_piece(parts: int) -> None:
    whole, cut = perceptron(), perceptron(accumulate=parts)
    at = whole.weights(0).snapshot().vector
    expected = whole.gradient(at, 0, 2)
    sizes = cut.weights(0).tensors_bytes[::-1]
    told: list[Tensor] = []
    for _ in range(2):  # nothing of the first may be left when the second begins
        told.clear()
        gradient = cut.gradient_in_pieces(at, 0, 2, sizes, 0.5, told.append)
    assert [piece.nbytes for piece in told] == list(sizes)
    assert torch.equal(torch.cat(told[::-1]), gradient.vector)
    assert distance(gradient.vector, 0.5 * expected.vector) < FAR
    assert gradient.loss == pytest.approx(expected.loss, rel=FAR)


@pytest.mark.parametrize("make", [perceptron, recurrent])
def test_in_bfloat16_a_gradient_is_nearly_the_same_and_stays_float32(make: type) -> None:
    exact, narrow = make(), make("bfloat16")
    at = exact.weights(0).snapshot().vector
    expected, gradient = exact.gradient(at, 0, 0), narrow.gradient(at, 0, 0)
    assert at.dtype == gradient.vector.dtype == narrow.weights(0).snapshot().vector.dtype
    # A mantissa of 8 bits: far from float32's rounding, and near enough to descend.
    assert FAR < distance(gradient.vector, expected.vector) < 0.03
    assert gradient.loss == pytest.approx(expected.loss, rel=0.02)
    # No stack of float32 is taken in its place.
    assert narrow.gradients_at_once == make(accumulate=2).gradients_at_once == 1


def test_recurrent_layers_of_a_gpu_stay_out_of_autocast() -> None:
    """Tried where autocast is another, and the wrapper the same."""
    model = AcousticModel(inputs=4, layers=1, cells=3, projection=2, outputs=5)
    features, names = torch.randn(2, 3, 4), set(model.state_dict())
    keep_recurrent_full(model, "cpu")
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        hidden, _ = model.lstm(features.bfloat16().float())
        beside, _ = model.lstm(features.bfloat16(), None)
        assert model(features).dtype == torch.bfloat16
    assert hidden.dtype == torch.float32
    assert torch.equal(hidden, beside)
    with torch.no_grad():
        alone, _ = model.lstm(features.bfloat16().float())
    # Not a bit of the layer's own arithmetic is narrower.
    assert torch.equal(hidden, alone)
    assert set(model.state_dict()) == names


def test_steps_that_bfloat16_cannot_hold_add_up_in_the_weights() -> None:
    weights = TorchWeights(0, 1, torch.ones(1))
    for _ in range(100):
        weights.descend(torch.ones(1), 1e-4, (0,))
    assert weights.snapshot().vector.item() == pytest.approx(0.99, abs=1e-5)
    assert (torch.ones(1, dtype=torch.bfloat16) - 1e-4).item() == 1.0


def adam(tensors: list[Tensor]) -> torch.optim.Optimizer:
    return torch.optim.Adam(tensors)


@pytest.mark.parametrize("optimizer", [sgd(), sgd(momentum=0.9, weight_decay=0.1), adam])
@pytest.mark.parametrize("most", [0.01, 1.0, 1e3])
def test_clipping_is_torchs_own(optimizer: OptimizerFactory | None, most: float) -> None:
    start = normal(0, 500)
    weights = TorchWeights(0, 1, start, optimizer, audit=True)
    weights.clip_norm = most
    beside = TorchWeights(0, 1, start, optimizer)
    for step in range(1, 4):
        gradient = normal(step, 500)
        kept = gradient.clone()
        weights.descend(gradient, 0.1, (0,))
        assert torch.equal(gradient, kept)
        parameter = nn.Parameter(torch.zeros(500))
        parameter.grad = gradient.clone()
        nn.utils.clip_grad_norm_([parameter], most)
        beside.descend(parameter.grad, 0.1, (0,))
    torch.testing.assert_close(
        weights.snapshot().vector, beside.snapshot().vector, rtol=1e-6, atol=1e-7
    )
    unexplained = weights.unexplained()
    assert unexplained is not None
    assert unexplained.abs().max() < 1e-6


def test_an_impossible_recipe_says_why() -> None:
    with pytest.raises(UsageError, match="accumulate = 5: a mini-batch of 12 has no so many"):
        perceptron(accumulate=5)
    with pytest.raises(UsageError, match="precision = 'float16': gradients are computed in"):
        perceptron("float16")
    with pytest.raises(ScenarioError, match=r"training\.accumulate = 5: .* Choose one of 1, 2, 4"):
        api.simulate(load("digits-adpsgd", ["training.accumulate=5", "workload.batch=16"]))
    with pytest.raises(ScenarioError, match=r"training\.clip_norm = 0.* greater than 0"):
        load("digits-adpsgd", ["training.clip_norm=0"])


def test_a_recipe_that_nobody_follows_is_told() -> None:
    scenario = load("quadratic-sd-psgd", ["training.precision=bfloat16", "training.accumulate=2"])
    told = Composition(scenario, 1.0, None).warnings()
    assert [key in line for line, key in zip(told, ("precision", "accumulate"), strict=True)]
    assert all("quadratic takes gradients in a way of its own" in line for line in told)


def test_a_device_takes_a_parts_time_for_each_part() -> None:
    spec = DeviceSpec(
        flops_per_s=1e12,
        memory_bytes_per_s=1e11,
        launch_s=0.5,
        profiles={"gradient": ((10, 2.0), (20, 3.0))},
        bfloat16_speedup=2.0,
    )
    assert spec.nominal_s(Cost("gradient", samples=20)) == 3.0
    assert spec.nominal_s(Cost("gradient", samples=20, parts=2)) == 4.0
    assert spec.nominal_s(Cost("gradient", samples=20, parts=2, precision="bfloat16")) == 2.0
    # Of a roofline each part is started.
    assert spec.nominal_s(Cost("other", flops=2e12, parts=4)) == 4.0
    with pytest.raises(UsageError, match="bfloat16_speedup = 0"):
        DeviceSpec(flops_per_s=1.0, memory_bytes_per_s=1.0, bfloat16_speedup=0)


def test_phantoms_cost_what_their_recipe_says() -> None:
    whole = AcousticPhantom(seed=0, learners=1, batch=128)
    cut = AcousticPhantom(seed=0, learners=1, batch=128, accumulate=2, precision="bfloat16")
    more = cut.gradient_cost.bytes_moved - whole.gradient_cost.bytes_moved
    assert more == 6 * whole.weights(0).nbytes
    assert cut.gradient_cost[:3] == whole.gradient_cost[:3]
    assert cut.gradient_cost[4:] == (2, "bfloat16")
    assert Phantom(seed=0, learners=1, batch=4, accumulate=4).gradient_cost.parts == 4
    assert perceptron("bfloat16", 3).gradient_cost[4:] == (3, "bfloat16")


def test_the_simulators_clock_follows() -> None:
    def hours(*more: str) -> float:
        settings = ["learners=2", "simulation.epochs=0.001", *more]
        return api.simulate(load("swb2000-adpsgd-16", settings)).summary.elapsed_s

    whole = hours()
    # The papers' profile is so much flatter than a straight line to zero.
    assert hours("training.accumulate=2") > 1.02 * whole
    fast = hours("training.precision=bfloat16", "cluster.device.bfloat16_speedup=2.0")
    assert fast < 0.8 * whole
    assert hours("training.precision=bfloat16") == whole
    assert hours("training.clip_norm=1.0") > whole


def test_a_simulated_run_in_parts_comes_to_the_same() -> None:
    # Where time decides nothing: parts take longer.
    same = ["algorithm.name=ssgd", "learners=2", "training.epochs=2"]
    settings = [*same, "training.clip_norm=0.5"]
    whole = api.simulate(load("digits-adpsgd", settings)).summary
    cut = api.simulate(load("digits-adpsgd", [*settings, "training.accumulate=4"])).summary
    assert cut.loss == pytest.approx(whole.loss, rel=1e-4)
    free = api.simulate(load("digits-adpsgd", same)).summary
    assert free.loss != pytest.approx(whole.loss, rel=1e-2)


def test_a_real_run_trains_by_such_a_recipe() -> None:
    recipe = (
        "training.precision=bfloat16",
        "training.accumulate=4",
        "training.clip_norm=1.0",
        "training.audit=true",
        "training.epochs=12",
        "learners=2",
    )
    with started("tests.support.dying", "", *recipe, processes=2) as running:
        ends = [ended(process) for process in running]
    assert [code for code, _, _ in ends] == [0, 0], ends
    told = json.loads(ends[0][1])
    assert told["accuracy"] > 0.8
    assert told["conservation_error"] < 1e-5
