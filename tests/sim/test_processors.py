"""Learners that compute on the processors of their server, and share them."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualrt.core.effects import Cost
from dualrt.core.faults import Slowdown
from dualrt.sim.clock import Clock
from dualrt.sim.cluster import Cluster, ClusterSpec
from dualrt.sim.device import Device, DeviceSpec
from dualrt.sim.network import Network
from dualrt.sim.processors import Processors

SPEC = DeviceSpec(flops_per_s=1.0, memory_bytes_per_s=1.0)

Asked = tuple[int, float, float]
"""Who, when, and how many seconds of a processor."""


def sharing(
    env: Clock, processors: float, learners: int = 4, slowdowns: Sequence[Slowdown] = ()
) -> Processors:
    """Learners on one server, of which the first may be slow."""
    spec = ClusterSpec(
        servers=1,
        gpus_per_server=learners,
        nic_bytes_per_s=1.0,
        host_memory_bytes_per_s=1.0,
        processors_per_server=processors,
    )
    devices = [
        Device(SPEC, random.Random(0), np.random.default_rng(0), () if rank else slowdowns)
        for rank in range(learners)
    ]
    return Processors(env, Cluster(spec, Network(env)), devices)


def ends(processors: float, *asked: Asked, slowdowns: Sequence[Slowdown] = ()) -> list[float]:
    """When each of these computations ends."""
    env = Clock()
    shared = sharing(env, processors, slowdowns=slowdowns)
    found: dict[int, float] = {}
    for place, (rank, at_s, work_s) in enumerate(asked):

        def begin(_: None, place: int = place, rank: int = rank, work_s: float = work_s) -> None:
            cost = Cost("work", flops=work_s)
            shared.compute(rank, cost, lambda _: found.__setitem__(place, env.now))

        env.at(at_s, begin, None)
    env.run()
    return [found[place] for place in range(len(asked))]


def test_as_many_as_there_are_processors_do_not_feel_each_other() -> None:
    assert ends(2, (0, 0.0, 1.0), (1, 0.0, 2.0)) == [1.0, 2.0]


def test_more_learners_than_processors_get_equal_parts() -> None:
    # Three on two: each at 2/3, until the first is done after 1.5 s and the others are alone.
    assert ends(2, (0, 0.0, 1.0), (1, 0.0, 2.0), (2, 0.0, 2.0)) == pytest.approx([1.5, 2.5, 2.5])


def test_what_one_learner_does_at_once_shares_one_processor() -> None:
    assert ends(2, (0, 0.0, 1.0), (0, 0.0, 1.0)) == pytest.approx([2.0, 2.0])
    assert ends(2, (0, 0.0, 2.0), (0, 1.0, 0.5)) == pytest.approx([2.5, 2.0])


def test_a_straggler_takes_no_processor_while_it_is_late() -> None:
    slow = [Slowdown(0.0, math.inf, 3.0)]
    assert ends(1, (0, 0.0, 1.0), (0, 1.0, 1.0), slowdowns=slow) == pytest.approx([3.0, 4.0])


work = st.tuples(st.integers(0, 3), st.floats(0, 5), st.floats(0.01, 3))


@given(st.sampled_from([1.0, 1.5, 2.0, 4.0]), st.lists(work, min_size=1, max_size=8))
def test_no_work_is_lost_and_none_is_done_faster_than_it_can_be(
    processors: float, asked: list[Asked]
) -> None:
    found = ends(processors, *asked)
    for (_, at_s, work_s), end_s in zip(asked, found, strict=True):
        assert end_s >= at_s + work_s * (1 - 1e-9)
    # Somebody is at work from the first request to the last end, but for gaps that nobody fills.
    first_s, whole_s = min(at_s for _, at_s, _ in asked), sum(work_s for *_, work_s in asked)
    last_s = max(at_s for _, at_s, _ in asked)
    assert max(found) >= first_s + whole_s / processors * (1 - 1e-9)
    assert max(found) <= last_s + whole_s * (1 + 1e-9) / min(1.0, processors) + 1e-9


def test_marks_are_told_when_their_share_is_done() -> None:
    env = Clock()
    shared = sharing(env, 1)
    told: list[float] = []
    cost, mark = Cost("work", flops=1.0), (0.25, lambda _: told.append(env.now))
    shared.compute(0, cost, told.append, [mark])
    shared.compute(1, Cost("work", flops=2.0), lambda _: told.append(env.now))
    env.run()
    # Half a second of two at once; it began at 0 s; the other is alone from 2 s on.
    assert told == pytest.approx([0.5, 0.0, 3.0])


def test_what_a_lost_learner_was_at_ends_and_leaves_the_processor_to_others() -> None:
    env = Clock()
    shared = sharing(env, 1)
    told: list[tuple[int, float]] = []

    def tell(rank: int) -> Callable[[float], None]:
        return lambda _: told.append((rank, env.now))

    for rank in (0, 1):
        shared.compute(rank, Cost("work", flops=2.0), tell(rank), [(0.5, lambda _: None)])
    env.at(1.0, shared.abandon, 0)
    env.run()
    assert [rank for rank, _ in told] == [0, 1]
    assert [time_s for _, time_s in told] == pytest.approx([1.0, 2.5])
