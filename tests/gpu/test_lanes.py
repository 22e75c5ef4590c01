"""Streams, events and pinned buffers, with kernels that are held up at random."""

from __future__ import annotations

import threading
from dataclasses import replace
from random import Random
from typing import Any

import pytest
import torch

from dualrt.algorithms.adpsgd import ADPSGD
from dualrt.real.lanes import CudaLane, Lanes
from dualrt.real.staging import DeviceBodies, bring_down
from dualrt.workloads.torch_optimizer import OptimizerFactory, sgd
from dualrt.workloads.torch_weights import TorchWeights
from tests.gpu.workloads import perceptron
from tests.support.changes import changes, normal
from tests.support.exact import learners_of
from tests.support.stage import train

pytestmark = pytest.mark.gpu

HELD_UP_CYCLES = 2_000_000
"""About a millisecond: far more than it takes to ask for a kernel."""


def hold_up(draw: Random) -> None:
    if draw.random() < 0.4:
        torch.cuda._sleep(draw.randrange(HELD_UP_CYCLES))


@pytest.mark.parametrize("nbytes", [0, 4, 1 << 20, (5 << 20) + 12])
def test_a_vector_comes_down_as_it_is_when_the_lane_is_done(
    cuda: torch.device, nbytes: int
) -> None:
    lane = CudaLane(cuda)
    given = normal(1, nbytes // 4).to(cuda)
    torch.cuda.synchronize()
    to, told = memoryview(bytearray(nbytes)), list[int]()
    with lane.use():
        torch.cuda._sleep(20 * HELD_UP_CYCLES)
        vector = given * 2
        bring_down(lane, vector, to, told.append)
    assert to.tobytes() == (2 * normal(1, nbytes // 4)).numpy().tobytes()
    assert told == sorted(told)
    assert told[-1:] == [nbytes][: bool(nbytes)]


def test_a_body_comes_up_while_its_chunks_memory_is_used_again(cuda: torch.device) -> None:
    lane = CudaLane(cuda)
    chunk = 1 << 20
    whole = [normal(seed, 3 * chunk // 4 + 3) for seed in range(2)]
    bodies = DeviceBodies(lane)
    arriving = [bodies.take(one.nbytes) for one in whole]
    with lane.use():
        torch.cuda._sleep(20 * HELD_UP_CYCLES)
    for start in range(0, whole[0].nbytes, chunk):
        for body, one in zip(arriving, whole, strict=True):
            data = bytearray(one.view(torch.uint8).numpy().tobytes()[start : start + chunk])
            body.fill(start, memoryview(data))
            data[:] = bytes(len(data))
    for body, one in zip(arriving, whole, strict=True):
        # By any thread's stream, without waiting for anything.
        came = body.tensor(torch.float32, tuple(one.shape))
        assert came.device == cuda
        assert torch.equal(came.cpu(), one)


def test_what_a_thread_asks_for_in_a_lane_goes_there(cuda: torch.device) -> None:
    lane = CudaLane(cuda, urgent=True)
    streams = []

    def ask() -> None:
        with lane.use():
            streams.append(torch.cuda.current_stream(cuda))

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    assert streams != [torch.cuda.default_stream(cuda)]
    assert streams[0].priority < 0


@pytest.mark.parametrize("optimizer", [sgd(), sgd(momentum=0.9, weight_decay=0.1)])
@pytest.mark.parametrize("seed", range(10))
def test_weights_are_those_of_the_order_of_the_lock(
    cuda: torch.device, optimizer: OptimizerFactory | None, seed: int
) -> None:
    start = normal(0, 300_000)
    weights = TorchWeights(0, 2, start.to(cuda), optimizer, audit=True)
    lanes = [CudaLane(cuda) for _ in range(3)]
    came = changes(weights, seed, lanes, hold_up)
    came.append(weights.snapshot().vector)
    torch.cuda.synchronize()
    beside = TorchWeights(0, 2, start, optimizer, audit=True)
    expected = [*changes(beside, seed), beside.snapshot().vector]
    for ours, theirs in zip(came, expected, strict=True):
        torch.testing.assert_close(ours.cpu(), theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("wire", ["full", "bfloat16", "top-k"])
def test_learners_that_share_a_gpu_learn_and_conserve_the_sum(
    cuda: torch.device, wire: str
) -> None:
    workload = perceptron(device=str(cuda), audit=True)
    learners = learners_of(ADPSGD, workload, 3)
    for learner in learners:
        learner.weights.wire, learner.weights.wire_fraction = wire, 0.1
        # A workload serves one thread at a time.
        learner.seat = replace(learner.seat, workload=perceptron(device=str(cuda)))
    before = workload.gradient(learners[0].weights.snapshot().vector, 0, 0).loss
    log = train(learners, lanes=lambda: Lanes.of(cuda), device=cuda)
    assert sum(span.kind == "blend" for span in log.spans) > 4
    unexplained: list[Any] = [learner.weights.unexplained() for learner in learners]
    moved = torch.stack(unexplained)
    assert moved.abs().max() > 1e-4
    assert moved.sum(0).abs().max() < 1e-5
    after = workload.gradient(learners[0].weights.snapshot().vector, 0, 0).loss
    assert before is not None
    assert after is not None
    assert after < before
