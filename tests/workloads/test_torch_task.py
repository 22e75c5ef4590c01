from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from dualrt.core.errors import UsageError
from dualrt.core.pool import SMALLEST_BYTES
from dualrt.core.workload import Workload
from dualrt.workloads.pool import Pool
from dualrt.workloads.torch_task import Samples, TorchTask, top1_accuracy
from dualrt.workloads.torch_vectors import digest

pytestmark = pytest.mark.usefixtures("one_torch_thread")

cross_entropy = nn.functional.cross_entropy


def samples(size: int, seed: int) -> Samples:
    generator = torch.Generator().manual_seed(seed)
    return Samples(
        torch.randn(size, 6, generator=generator),
        torch.randint(0, 3, (size,), generator=generator),
    )


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3))


def task(
    module: Callable[[], nn.Module] = network,
    *,
    seed: int = 1,
    held_out: Samples | None = None,
    accuracy: Callable[[Tensor, Tensor], Tensor] | None = top1_accuracy,
) -> TorchTask:
    return TorchTask(
        seed=seed,
        learners=3,
        batch=8,
        module=module,
        training=samples(50, seed=1),
        held_out=samples(1500, seed=2) if held_out is None else held_out,
        loss=cross_entropy,
        accuracy=accuracy,
    )


def start(workload: TorchTask) -> Tensor:
    return workload.weights(0).snapshot().vector


def loaded(vector: Tensor) -> nn.Module:
    module = network()
    nn.utils.vector_to_parameters(vector.clone(), module.parameters())
    return module


def test_a_gradient_is_the_modules_own_on_the_pools_batch() -> None:
    workload: Workload[Tensor] = task()
    at = workload.weights(0).snapshot().vector
    gradient = workload.gradient(at, rank=2, draw=4)

    chosen = torch.from_numpy(Pool(50, 8, 3, seed=1).indices(2, 4))
    inputs, targets = samples(50, seed=1)
    module = loaded(at)
    loss = cross_entropy(module(inputs[chosen]), targets[chosen])
    expected = torch.autograd.grad(loss, list(module.parameters()))
    torch.testing.assert_close(gradient.vector, torch.cat([part.flatten() for part in expected]))
    assert gradient.loss == pytest.approx(loss.item())


def test_a_gradient_leaves_its_point_and_earlier_gradients_alone() -> None:
    workload = task()
    at = start(workload)
    kept = at.clone()
    first = workload.gradient(at, 0, 0).vector
    kept_first = first.clone()
    workload.gradient(at + 1, 1, 0)
    assert torch.equal(at, kept)
    assert torch.equal(first, kept_first)


def test_calls_leave_nothing_behind_that_changes_a_gradient() -> None:
    workload = task()
    at = start(workload)
    first = workload.gradient(at, 0, 0)
    workload.gradient(at * 2, 1, 7)
    workload.evaluate(at * 3)
    again = workload.gradient(at, 0, 0)
    assert digest(again.vector) == digest(first.vector)
    assert again.loss == first.loss


def test_all_learners_start_alike_and_seeds_differ() -> None:
    workload = task()
    assert torch.equal(start(workload), workload.weights(2).snapshot().vector)
    assert torch.equal(start(workload), start(task()))
    assert not torch.equal(start(workload), start(task(seed=2)))


def test_the_global_generator_is_neither_read_nor_moved() -> None:
    def with_dropout() -> nn.Module:
        return nn.Sequential(nn.Linear(6, 30), nn.Dropout(0.5), nn.Linear(30, 3))

    torch.manual_seed(1)
    before = torch.get_rng_state()
    workload = task(with_dropout)
    at = start(workload)
    first = workload.gradient(at, 0, 0).vector
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(workload.gradient(at, 0, 0).vector, first)


def test_dropout_is_off_in_evaluation_and_on_again_afterwards() -> None:
    def with_dropout() -> nn.Module:
        return nn.Sequential(nn.Linear(6, 30), nn.Dropout(0.5), nn.Linear(30, 3))

    workload = task(with_dropout)
    at = start(workload)
    before = workload.gradient(at, 0, 0).loss
    assert workload.evaluate(at) == workload.evaluate(at)
    assert workload.gradient(at, 0, 0).loss == before
    chosen = torch.from_numpy(Pool(50, 8, 3, seed=1).indices(0, 0))
    inputs, targets = samples(50, seed=1)
    undisturbed = task(with_dropout, held_out=Samples(inputs[chosen], targets[chosen])).evaluate(at)
    assert undisturbed["loss"] != pytest.approx(before)


def test_evaluation_is_the_mean_over_all_held_out_samples() -> None:
    workload = task()
    at = start(workload)
    inputs, targets = samples(1500, seed=2)  # not a multiple of what is evaluated at once
    with torch.no_grad():
        outputs = loaded(at)(inputs)
    figures = workload.evaluate(at)
    assert figures["loss"] == pytest.approx(cross_entropy(outputs, targets).item(), rel=1e-5)
    right = (outputs.argmax(1) == targets).sum().item()
    assert figures["accuracy"] == pytest.approx(right / 1500)


def test_figures_that_a_task_lacks_are_left_out() -> None:
    without = task(accuracy=None)
    assert set(without.evaluate(start(without))) == {"loss"}
    empty = task(held_out=samples(0, seed=2))
    assert empty.evaluate(start(empty)) == {}


def test_the_cost_is_counted_in_the_module() -> None:
    parameters = 6 * 5 + 5 + 5 * 3 + 3
    cost = task().gradient_cost
    # Inputs need no gradient, so the first layer takes two products and the second three.
    flops = 8 * 2 * (2 * 6 * 5 + 3 * 5 * 3)
    assert (cost.kind, cost.samples, cost.flops) == ("gradient", 8, flops)
    # A sample's input, what tanh gives, the probabilities, and a label; and a scalar for all.
    kept = 8 * (4 * (6 + 5 + 3) + 8)
    assert cost.bytes_moved == pytest.approx(3 * 4 * parameters + 4 * kept, rel=0.1)


def test_counting_draws_nothing_from_the_global_generator() -> None:
    def with_dropout() -> nn.Module:
        return nn.Sequential(nn.Linear(6, 3), nn.Dropout(0.5))

    before = torch.random.get_rng_state()
    task(with_dropout)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_an_epoch_is_what_a_pass_over_the_pool_hands_out() -> None:
    assert task().samples_per_epoch == 48


def test_frozen_parameters_are_not_part_of_the_vector() -> None:
    def half_frozen() -> nn.Module:
        module = nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 3))
        module[0].requires_grad_(False)
        return module

    workload = task(half_frozen)
    at = start(workload)
    assert at.shape == (5 * 3 + 3,)
    assert workload.gradient(at, 0, 0).vector.shape == at.shape


def test_a_parameter_that_the_loss_does_not_use_has_gradient_zero() -> None:
    class Spare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used = nn.Linear(6, 3)
            self.spare = nn.Parameter(torch.ones(4))

        def forward(self, inputs: Tensor) -> Tensor:
            outputs: Tensor = self.used(inputs)
            return outputs

    workload = task(Spare)
    gradient = workload.gradient(start(workload), 0, 0).vector
    assert gradient[:4].tolist() == [0.0] * 4 or gradient[-4:].tolist() == [0.0] * 4
    assert gradient.abs().sum() > 0


def test_a_module_that_writes_to_its_parameters_does_not_reach_the_vector() -> None:
    class Renormed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(4, 3, max_norm=0.1)

        def forward(self, inputs: Tensor) -> Tensor:
            outputs: Tensor = self.table(inputs[:, 0].abs().long().clamp(max=3))
            return outputs

    workload = task(Renormed)
    at = start(workload)
    kept = at.clone()
    workload.gradient(at, 0, 0)
    assert torch.equal(at, kept)


def wide() -> nn.Module:
    """Large enough that its vector is not copied."""
    return nn.Sequential(nn.Linear(6, 512), nn.Tanh(), nn.Linear(512, 512), nn.Linear(512, 3))


def test_a_large_vector_gives_the_module_s_own_gradient_at_each_point() -> None:
    workload = task(wide)
    at = start(workload)
    assert at.nbytes >= SMALLEST_BYTES
    module = wide()
    inputs, targets = samples(50, seed=1)
    for draw, point in enumerate((at, at * 2, at)):
        kept = point.clone()
        gradient = workload.gradient(point, 0, draw).vector
        chosen = torch.from_numpy(Pool(50, 8, 3, seed=1).indices(0, draw))
        nn.utils.vector_to_parameters(point, module.parameters())
        loss = cross_entropy(module(inputs[chosen]), targets[chosen])
        expected = torch.autograd.grad(loss, list(module.parameters()))
        torch.testing.assert_close(gradient, torch.cat([part.flatten() for part in expected]))
        assert torch.equal(point, kept)


class Renormed(nn.Module):
    """A large table whose rows are cut to length where they are read, but not while `idle`."""

    def __init__(self, idle: int = 0) -> None:
        super().__init__()
        self.idle = idle
        self.table = nn.Embedding(100_000, 3, max_norm=0.1)

    def forward(self, inputs: Tensor) -> Tensor:
        self.idle -= 1
        self.table.max_norm = None if self.idle >= 0 else 0.1
        outputs: Tensor = self.table(inputs[:, 0].abs().long().clamp(max=3))
        return outputs


def test_a_large_module_that_writes_to_its_parameters_does_not_reach_the_vector() -> None:
    workload = task(Renormed)
    at = start(workload)
    kept = at.clone()
    workload.gradient(at, 0, 0)
    assert torch.equal(at, kept)


def test_a_module_that_begins_to_write_after_its_trial_is_an_error() -> None:
    workload = task(lambda: Renormed(idle=2))
    at = start(workload)
    workload.gradient(at, 0, 0)
    with pytest.raises(UsageError, match="module Renormed: it wrote to its parameters"):
        workload.gradient(at, 0, 1)


def test_consensus_and_digest_are_those_of_the_vectors() -> None:
    workload = task()
    at = start(workload)
    mean, distance = workload.consensus([at - 1, at + 1])
    torch.testing.assert_close(mean, at)
    assert distance == pytest.approx(len(at) ** 0.5)
    assert workload.digest(at) == digest(at)


def test_buffers_are_refused_with_the_reason() -> None:
    def normalised() -> nn.Module:
        return nn.Sequential(nn.Linear(6, 3), nn.BatchNorm1d(3))

    with pytest.raises(UsageError, match=r"buffers \(1\.running_mean.*would not be averaged"):
        task(normalised)


def test_parameters_of_two_types_are_refused() -> None:
    def mixed() -> nn.Module:
        return nn.Sequential(nn.Linear(6, 3), nn.Linear(3, 3, dtype=torch.float64))

    with pytest.raises(UsageError, match=r"torch\.float32, torch\.float64"):
        task(mixed)


def test_a_module_without_parameters_is_refused() -> None:
    with pytest.raises(UsageError, match=r"Identity: its trainable parameters have the types \(\)"):
        task(nn.Identity)


def test_inputs_without_targets_are_refused() -> None:
    uneven = Samples(torch.zeros(3, 6), torch.zeros(2, dtype=torch.int64))
    with pytest.raises(UsageError, match="3 inputs and 2 targets"):
        task(held_out=uneven)


def test_two_processes_compute_the_same_bits() -> None:
    program = """
import torch
from torch import nn
from dualrt.workloads.torch_task import Samples, TorchTask

torch.set_num_threads(1)
generator = torch.Generator().manual_seed(1)
samples = Samples(
    torch.randn(100, 64, generator=generator), torch.randint(0, 10, (100,), generator=generator)
)
task = TorchTask(
    seed=3,
    learners=4,
    batch=32,
    module=lambda: nn.Sequential(nn.Linear(64, 50), nn.ReLU(), nn.Dropout(), nn.Linear(50, 10)),
    training=samples,
    held_out=samples,
    loss=nn.functional.cross_entropy,
)
at = task.weights(0).snapshot().vector
gradient = task.gradient(at, 2, 9)
print(task.digest(at).hex(), task.digest(gradient.vector).hex(), gradient.loss.hex())
"""
    processes = [
        subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    first, second = (process.communicate()[0] for process in processes)
    assert [process.returncode for process in processes] == [0, 0]
    assert first == second
    assert len(first.split()) == 3
