"""Computation that slows down while its device communicates."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualrt.core.effects import Broadcast, Compute, Cost, Group, Packet, Recv, Send, Together
from dualrt.core.faults import Slowdown
from dualrt.sim.clock import Clock
from dualrt.sim.device import Device, DeviceSpec
from dualrt.sim.driver import Machine
from dualrt.sim.interference import Disturbed
from dualrt.workloads.phantom import PhantomVector
from tests.support.simulated import machine, simulate
from tests.support.stage import actors, main

SPEC = DeviceSpec(flops_per_s=1.0, memory_bytes_per_s=1.0)

Intervals = Sequence[tuple[float, float]]


def spans(
    works_s: Sequence[float],
    communications: Intervals,
    interference: float,
    slowdowns: Sequence[Slowdown] = (),
) -> list[tuple[float, float]]:
    """When computations that are asked for at once, of so many seconds each, start and end."""
    env = Clock()
    device = Device(SPEC, random.Random(0), np.random.default_rng(0), slowdowns)
    disturbed = Disturbed(env, [device], interference)
    found: list[tuple[float, float]] = []
    for start_s, end_s in communications:
        env.timeout(start_s).callbacks.append(lambda _: disturbed.begin([0]))
        env.timeout(end_s).callbacks.append(lambda _: disturbed.end([0]))
    for work_s in works_s:
        disturbed.compute(
            0, Cost("work", flops=work_s), lambda start_s: found.append((start_s, env.now))
        )
    env.run()
    return found


def test_without_communication_a_computation_takes_its_time() -> None:
    assert spans([2.0, 3.0], [], 0.5) == [(0.0, 2.0), (2.0, 5.0)]


def test_what_overlaps_takes_longer_and_the_rest_does_not() -> None:
    # One second free; 1.5 s in which 1 s gets done; one second free.
    assert spans([3.0], [(1.0, 2.5)], 0.5) == [(0.0, 3.5)]


def test_two_communications_at_once_disturb_like_one() -> None:
    ((_, end_s),) = spans([3.0], [(1.0, 2.0), (1.2, 2.5)], 0.5)
    assert end_s == pytest.approx(3.5)


def test_communication_before_and_after_disturbs_nothing() -> None:
    assert spans([1.0], [(2.0, 3.0)], 0.5) == [(0.0, 1.0)]


def test_interference_multiplies_with_a_slow_period() -> None:
    # From 1 s on everything takes twice as long; the last half second of work, three times.
    slow = [Slowdown(1.0, math.inf, 2.0)]
    ((_, end_s),) = spans([2.0], [(2.0, 9.0)], 0.5, slow)
    assert end_s == pytest.approx(3.5)


interval = st.tuples(st.floats(0, 20), st.floats(0.01, 10)).map(lambda x: (x[0], x[0] + x[1]))


@given(
    st.lists(st.floats(0.1, 8), min_size=1, max_size=4),
    st.lists(interval, max_size=6),
    st.floats(0.01, 2),
)
def test_the_time_lost_is_the_share_of_overlap(
    works_s: list[float], communications: Intervals, interference: float
) -> None:
    found = spans(works_s, communications, interference)
    edges = sorted({0.0, *(edge for both in communications for edge in both)})
    for work_s, (start_s, end_s) in zip(works_s, found, strict=True):
        inside = [start_s, *(edge for edge in edges if start_s < edge < end_s), end_s]
        done_s = 0.0
        for left, right in pairwise(inside):
            busy = any(a <= left and right <= b for a, b in communications)
            done_s += (right - left) / (1 + interference if busy else 1)
        assert done_s == pytest.approx(work_s)
    assert [start_s for start_s, _ in found] == pytest.approx([0, *(end for _, end in found[:-1])])


def test_what_a_lost_learner_had_asked_for_ends_and_leaves_the_device_free() -> None:
    env = Clock()
    disturbed = Disturbed(env, [Device(SPEC, random.Random(0), np.random.default_rng(0))], 0.5)
    ends: list[float] = []
    for _ in range(2):
        disturbed.compute(0, Cost("work", flops=5.0), lambda _: ends.append(env.now))
    env.run(until=1.0)
    disturbed.abandon(0)
    disturbed.compute(0, Cost("work", flops=2.0), lambda _: ends.append(env.now))
    env.run()
    assert ends == [1.0, 1.0, 3.0]


MILLISECOND = Cost("work", flops=1e9)
MESSAGE = PhantomVector(100_000_000)
"""A hundredth of a second between servers."""


def disturbed_machine(learners: int, interference: float) -> Machine:
    calm = machine(learners, latency_s=0.0)
    return calm._replace(device=replace(calm.device, interference=interference))


async def compute() -> None:
    await Compute(lambda: None, MILLISECOND)


def test_a_message_disturbs_the_learner_that_sends_and_the_one_that_receives() -> None:
    async def send() -> None:
        await Send(1, "hello", Packet(body=MESSAGE))
        await compute()

    async def receive() -> None:
        await Together(compute(), hear())

    async def hear() -> None:
        await Recv("hello")

    script = [[main(send)], [main(receive)], [main(compute)]]
    log = simulate(actors(script), disturbed_machine(3, 0.5))
    taken = {span.learner: span.end_s for span in log.spans if span.kind == "work"}
    assert taken == pytest.approx({0: 1.5e-3, 1: 1.5e-3, 2: 1e-3})


def test_a_collective_disturbs_its_members_from_when_the_last_is_there() -> None:
    group = Group("all", (0, 1))

    async def late() -> None:
        await compute()
        await Together(collective(Packet(body=MESSAGE)), compute())

    async def early() -> None:
        await Together(collective(), compute(), compute())

    async def collective(packet: Packet | None = None) -> None:
        await Broadcast(group, 0, packet)

    log = simulate(actors([[main(late)], [main(early)]]), disturbed_machine(2, 0.5))
    for learner in (0, 1):
        ends = [span.end_s for span in log.spans if (span.learner, span.kind) == (learner, "work")]
        assert ends == pytest.approx([1e-3, 2.5e-3])


def test_no_more_than_a_trace_of_it_changes_no_more_than_a_trace() -> None:
    async def exchange() -> None:
        for _ in range(3):
            await Together(compute(), gossip())

    async def gossip() -> None:
        await Send(0, "hello", Packet(body=MESSAGE))
        await Recv("hello")

    script = [[main(exchange)], [main(compute)]]
    calm = simulate(actors(script), disturbed_machine(2, 0.0))
    trace = simulate(actors(script), disturbed_machine(2, 1e-9))
    assert trace.elapsed_s == pytest.approx(calm.elapsed_s)
    assert [span.kind for span in trace.spans] == [span.kind for span in calm.spans]
