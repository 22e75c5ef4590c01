from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from dualrt.core.errors import UsageError
from dualrt.core.workload import Workload
from dualrt.workloads.quadratic import Quadratic

pytestmark = pytest.mark.usefixtures("one_torch_thread")


def start(workload: Workload[Tensor]) -> Tensor:
    return workload.weights(0).snapshot().vector


def test_weights_start_at_distance_one_from_the_optimum() -> None:
    workload = Quadratic(seed=1, learners=3, batch=1)
    assert start(workload).tolist() == [0.0] * 64
    assert workload.optimum.norm().item() == pytest.approx(1)


def test_the_condition_number_is_the_ratio_of_the_eigenvalues() -> None:
    curvature = Quadratic(seed=1, learners=1, batch=1, condition_number=50).curvature
    assert curvature.max().item() == pytest.approx(1)
    assert curvature.max() / curvature.min() == pytest.approx(50)


def test_heterogeneity_is_the_spread_of_the_optima_about_their_mean() -> None:
    workload = Quadratic(seed=1, learners=5, batch=1, heterogeneity=3.0)
    torch.testing.assert_close(workload.optima.mean(0), workload.optimum)
    offsets = workload.optima - workload.optimum
    assert offsets.square().sum(1).mean().sqrt().item() == pytest.approx(3)


@pytest.mark.parametrize(("learners", "heterogeneity"), [(1, 2.0), (4, 0.0)])
def test_learners_that_agree_have_one_optimum_and_nothing_to_lose(
    learners: int, heterogeneity: float
) -> None:
    workload = Quadratic(seed=1, learners=learners, batch=1, heterogeneity=heterogeneity)
    torch.testing.assert_close(workload.optima, workload.optimum.expand(learners, -1))
    assert workload.optimal_loss == pytest.approx(0, abs=1e-30)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("setting", ["condition_number", "heterogeneity", "noise"])
def test_what_is_not_finite_is_refused(setting: str, value: float) -> None:
    settings: dict[str, Any] = {setting: value}
    with pytest.raises(UsageError, match=f"^{setting} = {value}: "):
        Quadratic(seed=1, learners=2, batch=1, **settings)


def test_what_no_memory_holds_is_refused() -> None:
    with pytest.raises(UsageError, match=r"^dimension = .* Choose 268435456 or less"):
        Quadratic(seed=1, learners=4, batch=1, dimension=10**12)


def test_the_mean_gradient_vanishes_at_the_optimum_and_the_loss_is_the_optimal() -> None:
    workload = Quadratic(seed=1, learners=4, batch=1, noise=0.0)
    gradients = [workload.gradient(workload.optimum, rank, 0) for rank in range(4)]
    total = sum(gradient.vector for gradient in gradients)
    torch.testing.assert_close(total, torch.zeros(64, dtype=torch.float64))
    losses = [gradient.loss for gradient in gradients if gradient.loss is not None]
    assert sum(losses) / 4 == pytest.approx(workload.optimal_loss)
    assert workload.evaluate(workload.optimum)["loss"] == 0


def test_a_gradient_is_the_slope_of_the_loss_that_comes_with_it() -> None:
    workload = Quadratic(seed=1, learners=2, batch=1, dimension=5)
    at = torch.linspace(-1, 1, 5, dtype=torch.float64)
    gradient = workload.gradient(at, 1, 3)
    for axis in torch.eye(5, dtype=torch.float64) * 1e-5:
        ahead, behind = (workload.gradient(at + step, 1, 3).loss for step in (axis, -axis))
        assert ahead is not None
        assert behind is not None
        slope = (ahead - behind) / 2e-5
        assert slope == pytest.approx((gradient.vector @ axis).item() / 1e-5, abs=1e-8)


def test_evaluation_is_the_loss_above_the_optimal_of_all_learners_together() -> None:
    workload = Quadratic(seed=1, learners=4, batch=1, noise=0.0)
    at = torch.ones(64, dtype=torch.float64)
    losses = [workload.gradient(at, rank, 0).loss for rank in range(4)]
    mean = sum(loss for loss in losses if loss is not None) / 4
    assert workload.evaluate(at)["loss"] == pytest.approx(mean - workload.optimal_loss)


def test_noise_is_keyed_by_learner_and_draw_and_shrinks_with_the_batch() -> None:
    def noise(batch: int, rank: int, draw: int) -> Tensor:
        workload = Quadratic(
            seed=1, learners=2, batch=batch, dimension=1000, noise=2.0, heterogeneity=0.0
        )
        return workload.gradient(workload.optimum, rank, draw).vector

    assert torch.equal(noise(1, 0, 0), noise(1, 0, 0))
    assert not torch.equal(noise(1, 0, 0), noise(1, 1, 0))
    assert not torch.equal(noise(1, 0, 0), noise(1, 0, 1))
    assert noise(1, 0, 0).norm().item() == pytest.approx(2, rel=0.1)
    torch.testing.assert_close(noise(16, 0, 0), noise(1, 0, 0) / 4)


def test_descent_without_noise_contracts_as_the_closed_form_says() -> None:
    workload = Quadratic(seed=1, learners=1, batch=1, noise=0.0)
    weights = workload.weights(0)
    for draw in range(40):
        read = weights.snapshot()
        weights.descend(workload.gradient(read.vector, 0, draw).vector, 0.5, read.versions)
    expected = workload.optimum * (1 - (1 - 0.5 * workload.curvature) ** 40)
    reached = weights.snapshot().vector
    torch.testing.assert_close(reached, expected)
    assert workload.evaluate(reached)["loss"] < 0.02 * workload.evaluate(torch.zeros(64))["loss"]


def test_float32_is_float64_rounded() -> None:
    single, double = (
        Quadratic(seed=1, learners=2, batch=1, dtype=dtype) for dtype in ("float32", "float64")
    )
    assert single.weights(0).nbytes * 2 == double.weights(0).nbytes
    rounded = single.gradient(start(single), 1, 2).vector
    assert torch.equal(rounded, double.gradient(start(double), 1, 2).vector.float())


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(UsageError, match=r"dtype = 'int8': no such type\. Use float32 or float64"):
        Quadratic(seed=1, learners=1, batch=1, dtype="int8")
    with pytest.raises(UsageError, match=r"condition_number = 0\.5"):
        Quadratic(seed=1, learners=1, batch=1, condition_number=0.5)
