"""What is sent of an entry: half the bytes, and nothing lost from the sum over learners."""

from __future__ import annotations

import pytest
import torch

from dualrt import api
from dualrt.core.errors import UsageError
from dualrt.scenario import load
from dualrt.workloads.torch_weights import TorchWeights
from tests.support.exact import ExactWorkload

NARROW = ["bfloat16", "float16"]


@pytest.mark.parametrize("wire", NARROW)
def test_both_ends_of_an_exchange_change_by_opposite_differences(wire: str) -> None:
    generator = torch.Generator().manual_seed(3)
    first, second = (
        TorchWeights(rank, 2, torch.randn(1000, generator=generator)) for rank in range(2)
    )
    first.wire = second.wire = wire
    offered, answered = first.offer(1), second.sent()
    assert offered.vector.element_size() == 2
    before = [weights.snapshot().vector for weights in (first, second)]
    first.blend(offered, answered, 0.5)
    second.blend(answered, offered, 0.5)
    moved = [
        weights.snapshot().vector - start
        for weights, start in zip((first, second), before, strict=True)
    ]
    torch.testing.assert_close(moved[0], -moved[1], rtol=0, atol=1e-6)
    # Nearly the mean, to the width of the wire.
    mean = (before[0] + before[1]) / 2
    torch.testing.assert_close(first.snapshot().vector, mean, rtol=0, atol=0.02)


@pytest.mark.parametrize("wire", NARROW)
@pytest.mark.parametrize("algorithm", ["adpsgd", "sd-psgd"])
def test_a_run_conserves_the_sum_and_sends_half(algorithm: str, wire: str) -> None:
    settings = [
        f"algorithm.name={algorithm}",
        "workload.dtype=float32",
        "training.epochs=0.5",
        "training.audit=true",
    ]
    full = api.simulate(load("quadratic-sd-psgd", settings))
    half = api.simulate(load("quadratic-sd-psgd", [*settings, f"training.wire={wire}"]))
    assert half.summary.conservation_error is not None
    assert half.summary.conservation_error < 1e-6
    per_step = [outcome.tally.bytes_sent / outcome.tally.steps for outcome in (half, full)]
    assert per_step[0] == pytest.approx(per_step[1] / 2, rel=0.05)
    assert half.summary.loss == pytest.approx(full.summary.loss, rel=0.05)


def test_the_simulator_charges_half_where_there_are_no_numbers() -> None:
    settings = ["simulation.epochs=0.002", "cluster.socket_bytes_per_s=2e9"]
    full = api.simulate(load("swb2000-adpsgd-16", settings))
    half = api.simulate(load("swb2000-adpsgd-16", [*settings, "training.wire=bfloat16"]))
    per_step = [outcome.tally.bytes_sent / outcome.tally.steps for outcome in (half, full)]
    assert per_step[0] == pytest.approx(per_step[1] / 2, rel=0.1)
    assert half.summary.elapsed_s < full.summary.elapsed_s


@pytest.mark.parametrize("wire", ["full", *NARROW, "top-k"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_run_without_numbers_sends_as_much_whatever_the_weights_are(
    dtype: str, wire: str
) -> None:
    settings = [f"workload.dtype={dtype}", f"training.wire={wire}", "training.epochs=0.1"]
    numbers, timing = (
        api.simulate(load("swarm-small", [*settings, f"simulation.numerics={whether}"])).summary
        for whether in ("true", "false")
    )
    assert timing.bytes_sent == numbers.bytes_sent
    assert timing.digest.timing == numbers.digest.timing


def test_weights_that_cannot_be_cut_say_so() -> None:
    weights = ExactWorkload(learners=2, samples_per_epoch=4).weights(0)
    weights.wire = "top-k"
    with pytest.raises(UsageError, match="ExactWeights cannot be sent in parts"):
        weights.offer(1)


def test_weights_that_cannot_be_narrowed_say_so() -> None:
    weights = ExactWorkload(learners=2, samples_per_epoch=4).weights(0)
    weights.wire = "bfloat16"
    with pytest.raises(UsageError, match="ExactWeights cannot be sent as bfloat16"):
        weights.offer(1)
