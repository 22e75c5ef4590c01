"""Copies between a device and the host, piece by piece, on a device that does things late."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dualrt.algorithms.adpsgd import ADPSGD
from dualrt.real.lanes import HOST, Lane, Lanes
from dualrt.real.staging import DeviceBodies, bring_down
from dualrt.workloads.quadratic import Quadratic
from tests.support.exact import learners_of
from tests.support.late import BUFFER_BYTES, HastyLane, LateDevice
from tests.support.stage import ApartLane, train

sizes = st.integers(0, 6 * BUFFER_BYTES + 1)
seeds = st.integers(0, 2**32)


def noise(seed: int, nbytes: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (nbytes,), dtype=torch.uint8, generator=generator)


def moody(seed: int) -> LateDevice:
    random = Random(seed)
    return LateDevice(lambda: random.choice((0, 0, 1, 3)))


def brought_down(lane: Lane, vector: torch.Tensor) -> tuple[bytes, list[int]]:
    """What is there in the end, once it was there whenever it was said to be."""
    nbytes = vector.nbytes
    expected = vector.reshape(-1).view(torch.uint8).numpy().tobytes()
    to, told = memoryview(bytearray(nbytes)), list[int]()

    def arrived(there: int) -> None:
        told.append(there)
        assert to[:there] == expected[:there]

    bring_down(lane, vector, to, arrived)
    return to.tobytes(), told


@given(seeds, sizes)
def test_what_is_said_to_be_down_is_down(seed: int, nbytes: int) -> None:
    device = moody(seed)
    vector = noise(seed, nbytes)
    down, told = brought_down(device.lane(), vector)
    assert told == [*range(BUFFER_BYTES, nbytes, BUFFER_BYTES), *[nbytes][: bool(nbytes)]]
    # Nobody reads it any more.
    expected = vector.numpy().tobytes()
    vector.zero_()
    device.settle()
    assert down == expected


@given(seeds, sizes)
def test_it_begins_after_what_the_lane_was_asked_for_before(seed: int, nbytes: int) -> None:
    device = moody(seed)
    lane = device.lane()
    vector, expected = torch.zeros(nbytes, dtype=torch.uint8), noise(seed, nbytes)
    lane.copy(vector, expected)
    to = memoryview(bytearray(nbytes))
    bring_down(lane, vector, to, int)
    assert to.tobytes() == expected.numpy().tobytes()


def test_one_piece_is_copied_while_the_one_before_is_taken() -> None:
    device = LateDevice()
    lane = device.lane()
    vector, queued = noise(1, 3 * BUFFER_BYTES), list[int]()

    def arrived(_: int) -> None:
        queued.append(len(lane.waiting))

    bring_down(lane, vector, memoryview(bytearray(vector.nbytes)), arrived)
    # A copy and its mark, until the last piece.
    assert queued == [2, 2, 0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_the_host_needs_no_device_to_do_the_same(dtype: torch.dtype) -> None:
    vector = noise(2, 4 * 1024 * 1024 + 24).view(dtype)
    down, told = brought_down(HOST, vector)
    assert down == vector.view(torch.uint8).numpy().tobytes()
    assert told == [1 << 20, 2 << 20, 3 << 20, 4 << 20, (4 << 20) + 24]


@given(seeds, st.lists(st.integers(1, 5), min_size=1, max_size=4), st.integers(1, 20))
def test_bodies_that_arrive_by_turns_come_up_whole(
    seed: int, chunks: list[int], chunk_bytes: int
) -> None:
    """Whatever becomes of a chunk's bytes once it was filled in."""
    random = Random(seed)
    bodies = DeviceBodies(moody(seed).lane())
    whole = [noise(seed + n, count * chunk_bytes) for n, count in enumerate(chunks)]
    arriving = [bodies.take(len(one)) for one in whole]
    left = {n: iter(range(count)) for n, count in enumerate(chunks)}
    while left:
        n = random.choice(sorted(left))
        chunk = next(left[n], None)
        if chunk is None:
            del left[n]
            assert torch.equal(arriving[n].tensor(torch.uint8, (len(whole[n]),)), whole[n])
            continue
        start = chunk * chunk_bytes
        data = bytearray(whole[n][start : start + chunk_bytes].numpy().tobytes())
        arriving[n].fill(start, memoryview(data))
        data[:] = bytes(chunk_bytes)


def test_a_body_has_the_form_that_it_is_asked_for() -> None:
    body = DeviceBodies(LateDevice().lane()).take(24)
    body.fill(0, torch.arange(6, dtype=torch.float32).view(torch.uint8).numpy().data)
    assert body.tensor(torch.float32, (2, 3)).tolist() == [[0, 1, 2], [3, 4, 5]]
    assert len(body) == 24


def test_the_late_device_shows_who_does_not_wait() -> None:
    """Or none of the above would prove anything."""
    device = LateDevice()
    with pytest.raises(AssertionError):
        brought_down(HastyLane(device), noise(1, 3 * BUFFER_BYTES))
    body = DeviceBodies(HastyLane(device)).take(3 * BUFFER_BYTES)
    expected = noise(2, 3 * BUFFER_BYTES)
    body.fill(0, expected.numpy().data)
    assert not torch.equal(body.tensor(torch.uint8, (len(expected),)), expected)


def test_a_part_begins_after_its_strand_and_the_strand_goes_on_after_the_part() -> None:
    device = LateDevice()
    lanes = Lanes(lambda urgent: device.lane())
    strand = lanes.of_strand(daemon=False)
    begun, shared, ended = (torch.zeros(1, dtype=torch.uint8) for _ in range(3))
    strand.copy(begun, torch.ones(1, dtype=torch.uint8))
    part = lanes.fork(strand)
    assert part is not strand
    part.copy(shared, begun)
    lanes.join(strand, part)
    strand.copy(ended, shared)
    strand.mark().wait()
    assert ended.item() == 1
    # The next part has a lane that is free again.
    assert lanes.fork(strand) is part


def test_without_a_device_there_is_one_lane_and_nothing_to_wait_for() -> None:
    lanes = Lanes.of(torch.device("cpu"))
    assert lanes.of_strand(daemon=True) is lanes.fork(HOST) is HOST
    lanes.join(HOST, HOST)
    HOST.mark().wait()
    assert not HOST.apart


@pytest.mark.parametrize("wire", ["full", "bfloat16"])
def test_learners_on_such_devices_average_and_conserve_the_sum(wire: str) -> None:
    # Vectors of more than one piece.
    workload = Quadratic(
        seed=1,
        learners=3,
        batch=8,
        dimension=300_000,
        samples_per_epoch=3 * 8 * 12,
        dtype="float32",
        audit=True,
    )
    learners = learners_of(ADPSGD, workload, 3)
    for learner in learners:
        learner.weights.wire = wire
    log = train(learners, lanes=lambda: Lanes(lambda urgent: ApartLane()))
    assert sum(span.kind == "blend" for span in log.spans) > 12
    unexplained: list[Any] = [learner.weights.unexplained() for learner in learners]
    moved = torch.stack(unexplained)
    assert moved.abs().amax(1).min() > 1e-4
    assert moved.sum(0).abs().max() < 1e-6
