"""A gradient that is averaged while it is computed, in virtual time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dualrt.algorithms.ssgd import SSGD
from dualrt.core.effects import Cost, Group, MeanGradient
from dualrt.core.errors import DeadlockError, StrandError
from dualrt.core.weights import Gradient
from dualrt.sim.driver import Machine, Simulator
from dualrt.sim.overlap import ready_at
from dualrt.workloads.phantom import Phantom
from tests.support.runs import Case
from tests.support.simulated import Log, machine, simulate
from tests.support.stage import actors, main

TENSORS = (6_000_000, 3_000_000, 3_000_000)
"""Bytes; a gradient takes 9 ms, of which the backward pass takes 6."""

GRADIENT_S = 9e-3
NIC_BYTES_PER_S = 1e9


def run(bucket_bytes: int, on: Machine | None = None, tensors: tuple[int, ...] = TENSORS) -> Log:
    """Two learners on two servers, one step each."""
    workload = Phantom(
        seed=0,
        learners=2,
        batch=1,
        parameters_bytes=sum(tensors),
        tensors_bytes=tensors,
        samples_per_epoch=2,
        flops_per_sample=1e12 * GRADIENT_S,
    )
    case = Case(SSGD, 2, {"bucket_bytes": bucket_bytes})
    return simulate(case.cast(workload), on or quiet())


def quiet() -> Machine:
    return machine(2, nic_bytes_per_s=NIC_BYTES_PER_S, latency_s=0.0)


def spans(log: Log, kind: str) -> list[tuple[float, float, int]]:
    return [
        (span.start_s, span.end_s, span.bytes)
        for span in log.spans
        if span.kind == kind and span.learner == 0
    ]


def test_pieces_are_ready_as_the_backward_pass_goes_on() -> None:
    assert ready_at([1, 1, 2]) == pytest.approx((1 / 2, 2 / 3, 1))
    assert ready_at([7]) == (1,)


def test_a_piece_is_averaged_from_when_it_is_ready_one_after_another() -> None:
    found = spans(run(bucket_bytes=1), "allreduce")
    assert [size for *_, size in found] == [3_000_000, 3_000_000, 6_000_000]
    starts_s = [start_s for start_s, *_ in found]
    ends_s = [end_s for _, end_s, _ in found]
    # The backward pass is at 1/4 of the bytes after 4.5 ms, and at 1/2 after 6 ms.
    assert starts_s[0] == pytest.approx(4.5e-3)
    assert starts_s[1] == pytest.approx(max(6e-3, ends_s[0]))
    assert starts_s[2] == pytest.approx(max(GRADIENT_S, ends_s[1]))


def test_only_what_the_backward_pass_does_not_hide_is_waited_for() -> None:
    whole, pieces = run(bucket_bytes=0), run(bucket_bytes=1)
    ((begun_s, all_s, _),) = spans(whole, "allreduce")
    assert begun_s == pytest.approx(GRADIENT_S)
    *_, (last_s, end_s, _) = spans(pieces, "allreduce")
    assert pieces.elapsed_s - whole.elapsed_s == pytest.approx(end_s - all_s)
    assert end_s < all_s
    assert end_s >= last_s


def test_a_gradient_of_one_piece_is_averaged_when_it_is_there() -> None:
    one, small = (sum(TENSORS),), (300_000, 300_000)
    assert run(10**9, tensors=small).elapsed_s == run(0, tensors=small).elapsed_s
    assert run(bucket_bytes=1, tensors=one).elapsed_s == run(bucket_bytes=0).elapsed_s


def test_averaging_disturbs_the_computation_that_it_overlaps() -> None:
    on = quiet()
    disturbed = on._replace(device=replace(on.device, interference=0.5))
    ((start_s, end_s, _),) = spans(run(1, disturbed), "gradient")
    pieces = spans(run(1, disturbed), "allreduce")
    overlapped_s = sum(
        min(end_s, piece_end_s) - piece_start_s
        for piece_start_s, piece_end_s, _ in pieces
        if piece_start_s < end_s
    )
    # Where it overlaps, two thirds get done.
    assert end_s - start_s == pytest.approx(GRADIENT_S + overlapped_s / 3)
    assert overlapped_s > 1e-3


def test_an_interference_of_nothing_changes_nothing() -> None:
    on = quiet()
    barely = on._replace(device=replace(on.device, interference=1e-12))
    assert run(1, barely).elapsed_s == pytest.approx(run(1).elapsed_s)


def test_a_straggler_s_pieces_are_waited_for() -> None:
    slow = machine(2, nic_bytes_per_s=NIC_BYTES_PER_S, latency_s=0.0, slow={1: 3.0})
    first, *_ = spans(run(1, slow), "allreduce")
    # Learner 0 has the piece after 4.5 ms, learner 1 after 13.5 ms.
    assert first[0] == pytest.approx(4.5e-3)
    assert first[1] > 13.5e-3


PAIR = Group("pair", (0, 1))


class Asked:
    """A gradient of two pieces."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error

    def __call__(self) -> Gradient[Any]:
        if self.error is not None:
            raise self.error
        return Gradient(None, None)

    def in_pieces(self, pieces: object, share: object, ready: object) -> Gradient[Any]:
        raise AssertionError("only a real run takes pieces")


def asking(error: Exception | None = None) -> Any:
    async def ask() -> None:
        await MeanGradient(Asked(error), Cost("gradient", flops=1e9), PAIR, (1, 1))

    return ask


async def end() -> None:
    pass


def test_a_member_that_never_comes_is_a_deadlock() -> None:
    with pytest.raises(DeadlockError, match=r"learner 0, .* waits for AllReduce in pair"):
        Simulator(actors([[main(asking())], [main(end)]]), machine(2), Log()).run()


def test_an_error_of_the_gradient_is_told_with_its_learner() -> None:
    wrong = asking(ValueError("spoilt"))
    with pytest.raises(StrandError, match=r"learner 0.*spoilt"):
        Simulator(actors([[main(wrong)], [main(wrong)]]), machine(2), Log()).run()
