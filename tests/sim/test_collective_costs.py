"""Collective costs: the textbook's formulas, NCCL's, and messages sent one by one."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dualrt.core.errors import UsageError
from dualrt.sim.clock import Clock
from dualrt.sim.cluster import Cluster, ClusterSpec
from dualrt.sim.collective_costs import (
    NVLINK_HOP,
    PCIE_HOP,
    Algorithm,
    Plan,
    all_gather,
    allreduce,
    broadcast,
    duration_s,
    joined,
    reduce_scatter,
)
from dualrt.sim.network import Network
from dualrt.sim.patterns import TREE_EFFICIENCY, Formation
from tests.support import rings
from tests.support.clusters import CAPPED, SMALL, SPEC

MODEL_BYTES = 164_620_000
ALGORITHMS: st.SearchStrategy[Algorithm] = st.sampled_from(get_args(Algorithm))


def everyone(spec: ClusterSpec) -> Formation:
    return Formation(Cluster(spec, Network(Clock())), range(spec.gpus))


def one_a_server(servers: int) -> Formation:
    return everyone(replace(SPEC, servers=servers, gpus_per_server=1))


def allreduce_s(group: Formation, size_bytes: int, algorithm: Algorithm = "auto") -> float:
    return duration_s(allreduce(group, size_bytes, algorithm))


def moving_s(plan: Plan) -> float:
    """Seconds without all latencies."""
    return sum(phase.duration_s() - phase.latency_s for phase in plan)


@pytest.mark.parametrize("n", [2, 3, 8, 64])
def test_a_ring_of_one_rank_a_server_is_the_textbook_formula(n: int) -> None:
    latency_s = 14e-6 + 1e-6
    expected_s = 8.4e-6 + 2 * (n - 1) / n * MODEL_BYTES / 12e9 + 2 * (n - 1) * latency_s
    assert allreduce_s(one_a_server(n), MODEL_BYTES, "ring") == pytest.approx(expected_s, rel=1e-12)


def test_a_ring_within_a_server_is_the_textbook_formula() -> None:
    group = everyone(replace(SPEC, servers=1))
    expected_s = 8.4e-6 + 2 * 7 / 8 * MODEL_BYTES / 20e9 + 14 * NVLINK_HOP.ring_s
    assert allreduce_s(group, MODEL_BYTES, "ring") == pytest.approx(expected_s, rel=1e-12)


def test_a_ring_without_nvlink_has_the_hops_of_pcie() -> None:
    group = everyone(replace(SPEC, servers=1, nvlink_bytes_per_s=0.0))
    expected_s = 8.4e-6 + 2 * 7 / 8 * MODEL_BYTES / (16e9 / 4) + 14 * PCIE_HOP.ring_s
    assert allreduce_s(group, MODEL_BYTES, "ring") == pytest.approx(expected_s, rel=1e-12)


def test_a_library_with_buffers_in_the_hosts_has_the_hops_of_pcie() -> None:
    cluster = Cluster(replace(SPEC, servers=1), Network(Clock()))
    hops_s = allreduce_s(Formation(cluster, range(8), "host"), 0, "ring") - 8.4e-6
    assert hops_s == pytest.approx(14 * PCIE_HOP.ring_s)


def test_a_ring_over_servers_has_nccls_number_of_hops_between_them() -> None:
    hops_s = (126 - 16) * NVLINK_HOP.ring_s + 16 * (14e-6 + 1e-6)
    expected_s = 8.4e-6 + hops_s + 2 * 63 / 64 * MODEL_BYTES / 12e9
    assert allreduce_s(everyone(SPEC), MODEL_BYTES, "ring") == pytest.approx(expected_s, rel=1e-12)


def test_a_tree_over_servers_is_nccls_formula() -> None:
    hops_s = 2 * (7 * NVLINK_HOP.tree_s + 3 * (14e-6 + 1e-6))
    # An inner server of one tree sends half to its parent and to two children, a leaf of the other
    # half to its parent: two bytes for each.
    expected_s = 8.4e-6 + hops_s + 2 * MODEL_BYTES / (12e9 * TREE_EFFICIENCY)
    assert allreduce_s(everyone(SPEC), MODEL_BYTES, "tree") == pytest.approx(expected_s, rel=1e-12)


def test_a_hierarchical_allreduce_is_three_calls() -> None:
    inside_s = 8.4e-6 + 7 * NVLINK_HOP.ring_s + 7 / 8 * MODEL_BYTES / 20e9
    lanes_s = 8.4e-6 + 14 * (14e-6 + 1e-6) + 2 * 7 / 8 * MODEL_BYTES / 8 / (12e9 / 8)
    group = everyone(SPEC)
    assert allreduce_s(group, MODEL_BYTES, "hierarchical") == pytest.approx(2 * inside_s + lanes_s)


def test_a_hierarchical_allreduce_of_one_rank_a_server_is_the_ring() -> None:
    group = one_a_server(8)
    assert allreduce_s(group, MODEL_BYTES, "hierarchical") == pytest.approx(
        allreduce_s(group, MODEL_BYTES, "ring")
    )


def test_a_hierarchical_allreduce_on_one_server_is_its_two_halves() -> None:
    group = everyone(replace(SPEC, servers=1))
    halves_s = duration_s(reduce_scatter(group, MODEL_BYTES)) + duration_s(
        all_gather(group, MODEL_BYTES)
    )
    assert allreduce_s(group, MODEL_BYTES, "hierarchical") == pytest.approx(halves_s)


def test_a_hierarchical_allreduce_needs_as_many_ranks_on_each_server() -> None:
    cluster = Cluster(SPEC, Network(Clock()))
    with pytest.raises(UsageError, match="3 learners on 2 servers"):
        allreduce(Formation(cluster, [0, 1, 8]), MODEL_BYTES, "hierarchical")


def test_a_reduce_scatter_has_nccls_number_of_hops_between_servers() -> None:
    hops_s = (63 - 7) * NVLINK_HOP.ring_s + 7 * (14e-6 + 1e-6)
    expected_s = 8.4e-6 + hops_s + 63 / 64 * MODEL_BYTES / 12e9
    assert duration_s(reduce_scatter(everyone(SPEC), MODEL_BYTES)) == pytest.approx(expected_s)


def test_broadcast_is_a_pipelined_chain() -> None:
    hops_s = 56 * NVLINK_HOP.ring_s + 7 * (14e-6 + 1e-6)
    expected_s = 8.4e-6 + hops_s + MODEL_BYTES / 12e9
    assert duration_s(broadcast(everyone(SPEC), 5, MODEL_BYTES)) == pytest.approx(expected_s)


def test_a_tree_wins_for_few_bytes_and_a_ring_for_many() -> None:
    group = everyone(SPEC)
    few, many = 1_000, MODEL_BYTES
    assert allreduce_s(group, few, "tree") < allreduce_s(group, few, "ring")
    assert allreduce(group, few) == allreduce(group, few, "tree")
    assert allreduce_s(group, many, "ring") < allreduce_s(group, many, "tree")
    assert allreduce(group, many) == allreduce(group, many, "ring")


def test_a_group_of_one_costs_nothing() -> None:
    group = Formation(Cluster(SPEC, Network(Clock())), [5])
    assert allreduce(group, MODEL_BYTES) == ()
    assert broadcast(group, 5, MODEL_BYTES) == ()
    assert reduce_scatter(group, MODEL_BYTES) == ()
    assert duration_s(()) == 0.0


def test_a_library_slower_than_the_card_sets_the_pace_between_servers_only() -> None:
    slow, fast = replace(SPEC, collective_bytes_per_s=4e9), SPEC
    assert moving_s(allreduce(everyone(slow), MODEL_BYTES, "ring")) == pytest.approx(
        3 * moving_s(allreduce(everyone(fast), MODEL_BYTES, "ring"))
    )
    one = [everyone(replace(spec, servers=1)) for spec in (slow, fast)]
    assert allreduce_s(one[0], MODEL_BYTES) == allreduce_s(one[1], MODEL_BYTES)


def test_a_throttled_link_slows_a_collective_and_a_cut_one_stops_it() -> None:
    network = Network(Clock())
    cluster = Cluster(SPEC, network)
    group = Formation(cluster, range(16))
    whole_s = allreduce_s(group, MODEL_BYTES, "ring")
    network.throttle(cluster.links["server1.nic.in"], 0.5)
    more_s = 2 * 15 / 16 * MODEL_BYTES / 12e9
    assert allreduce_s(group, MODEL_BYTES, "ring") == pytest.approx(whole_s + more_s)
    network.throttle(cluster.links["server1.nic.in"], 0.0)
    assert allreduce_s(group, MODEL_BYTES) == math.inf
    assert duration_s(broadcast(group, 0, MODEL_BYTES)) == math.inf
    assert duration_s(broadcast(group, 0, 0)) < math.inf


@settings(deadline=None)
@given(CAPPED, ALGORITHMS, st.integers(0, 10**9), st.integers(0, 10**9))
def test_more_bytes_never_take_less_time(
    spec: ClusterSpec, algorithm: Algorithm, one: int, other: int
) -> None:
    group = everyone(spec)
    fewer, more = sorted((one, other))
    assert allreduce_s(group, fewer, algorithm) <= allreduce_s(group, more, algorithm)
    assert duration_s(broadcast(group, 0, fewer)) <= duration_s(broadcast(group, 0, more))


@settings(deadline=None)
@given(st.integers(1, 63), st.integers(0, 10**9))
def test_more_servers_never_take_less_time(servers: int, size_bytes: int) -> None:
    fewer, more = one_a_server(servers), one_a_server(servers + 1)
    for algorithm in get_args(Algorithm):
        assert allreduce_s(fewer, size_bytes, algorithm) <= allreduce_s(more, size_bytes, algorithm)


@settings(deadline=None)
@given(CAPPED, ALGORITHMS, st.lists(st.integers(0, 10**9), min_size=1, max_size=5))
def test_joined_collectives_take_as_long_as_one_after_another(
    spec: ClusterSpec, algorithm: Algorithm, sizes: list[int]
) -> None:
    group = everyone(spec)
    plans = [allreduce(group, size_bytes, algorithm) for size_bytes in sizes]
    assert duration_s(joined(plans)) == pytest.approx(sum(map(duration_s, plans)), rel=1e-9)
    # Of rings and trees at the most one each; of a hierarchical one three phases.
    assert len(joined(plans)) <= 3


# Message by message. Where all hops are alike the agreement is to rounding; where they are not, the
# number of hops from server to server that a part meets is NCCL's estimate, so bytes alone count.


@settings(deadline=None, max_examples=30)
@given(st.sampled_from([(6, 1), (2, 1), (1, 5), (1, 2)]), SMALL, st.integers(1, 10**9))
def test_rings_of_like_hops_agree_with_messages_sent_one_by_one(
    shape: tuple[int, int], spec: ClusterSpec, size_bytes: int
) -> None:
    spec = replace(spec, servers=shape[0], gpus_per_server=shape[1])
    group, n = everyone(spec), spec.gpus
    launch_s = spec.collective_launch_s
    part_bytes = -(-size_bytes // n)
    both_s = rings.ring_s(spec, [range(n)], part_bytes, 2 * (n - 1))
    half_s = rings.ring_s(spec, [range(n)], part_bytes, n - 1)
    assert allreduce_s(group, n * part_bytes, "ring") == pytest.approx(launch_s + both_s, rel=0.01)
    for plan in (reduce_scatter(group, n * part_bytes), all_gather(group, n * part_bytes)):
        assert duration_s(plan) == pytest.approx(launch_s + half_s, rel=0.01)


@settings(deadline=None, max_examples=30)
@given(SMALL)
def test_the_bytes_of_rings_agree_with_messages_sent_one_by_one(spec: ClusterSpec) -> None:
    group, n = everyone(spec), spec.gpus
    part_bytes = 10**9  # so many that hops are less than 1 % of it
    sent_s = rings.ring_s(spec, [range(n)], part_bytes, 2 * (n - 1))
    assert allreduce_s(group, n * part_bytes, "ring") == pytest.approx(sent_s, rel=0.01)


@settings(deadline=None, max_examples=30)
@given(SMALL)
def test_hierarchical_agrees_with_messages_sent_one_by_one(spec: ClusterSpec) -> None:
    servers, members = spec.servers, spec.gpus_per_server
    part_bytes = 10**9
    chains = [range(server * members, (server + 1) * members) for server in range(servers)]
    lanes = list(zip(*chains, strict=True))
    inside_s = rings.ring_s(spec, chains, servers * part_bytes, members - 1)
    between_s = rings.ring_s(spec, lanes, part_bytes, 2 * (servers - 1))
    planned_s = allreduce_s(everyone(spec), spec.gpus * part_bytes, "hierarchical")
    assert planned_s == pytest.approx(2 * inside_s + between_s, rel=0.01, abs=1e-9)


@settings(deadline=None, max_examples=60)
@given(SMALL, st.integers(0, 10**9))
def test_trees_and_chains_agree_with_a_flow_for_every_edge(
    spec: ClusterSpec, size_bytes: int
) -> None:
    spec = replace(spec, nic_latency_s=0.0)
    group, everybody = everyone(spec), range(spec.gpus)
    if group.ranks == 1:
        return
    flowed_s = rings.edges_s(spec, everybody, lambda group: group.tree, size_bytes)
    halves = allreduce(group, 2 * size_bytes, "tree")
    assert TREE_EFFICIENCY * moving_s(halves) == pytest.approx(flowed_s, rel=0.01)
    flowed_s = rings.edges_s(spec, everybody, lambda group: group.chain(0), size_bytes)
    assert moving_s(broadcast(group, 0, size_bytes)) == pytest.approx(flowed_s, rel=0.01)
