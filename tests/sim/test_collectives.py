"""Collectives: the closed forms, and that they agree with flows and with what links can carry."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import get_args

import pytest
import simpy
from hypothesis import given
from hypothesis import strategies as st

from dualrt.core.errors import UsageError
from dualrt.sim.cluster import Cluster, ClusterSpec
from dualrt.sim.collectives import (
    NVLINK_HOP,
    PCIE_HOP,
    Algorithm,
    Collectives,
    CollectiveSpec,
    GroupShape,
    allreduce_charges,
    allreduce_s,
    broadcast_charges,
    broadcast_s,
    group_shape,
)
from dualrt.sim.network import Network

MODEL_BYTES = 164_620_000
SPEC = ClusterSpec(
    servers=8,
    gpus_per_server=8,
    nic_bytes_per_s=12e9,
    host_memory_bytes_per_s=60e9,
    nvlink_bytes_per_s=20e9,
)
SHAPES = st.builds(
    lambda servers, gpus, nvlink, cap: group_shape(
        built(
            replace(
                SPEC,
                servers=servers,
                gpus_per_server=gpus,
                nvlink_bytes_per_s=nvlink,
                collective_bytes_per_s=cap,
            )
        ),
        range(servers * gpus),
    ),
    st.integers(1, 9),
    st.integers(1, 6),
    st.sampled_from([0.0, 20e9]),
    st.sampled_from([5e9, math.inf]),
)
ALGORITHMS: st.SearchStrategy[Algorithm] = st.sampled_from(get_args(Algorithm))


def built(spec: ClusterSpec) -> Cluster:
    return Cluster(spec, Network(simpy.Environment()))


def one_a_server(servers: int) -> GroupShape:
    cluster = built(replace(SPEC, servers=servers, gpus_per_server=1))
    return group_shape(cluster, range(servers))


@pytest.mark.parametrize("n", [2, 3, 8, 64])
def test_a_ring_of_one_rank_a_server_is_the_textbook_formula(n: int) -> None:
    latency_s = 14e-6 + 1e-6
    expected_s = 8.4e-6 + 2 * (n - 1) / n * MODEL_BYTES / 12e9 + 2 * (n - 1) * latency_s
    assert allreduce_s(one_a_server(n), MODEL_BYTES, "ring") == pytest.approx(expected_s, rel=1e-12)


def test_a_ring_within_a_server_is_the_textbook_formula() -> None:
    n = 8
    shape = group_shape(built(SPEC), range(n))
    expected_s = 8.4e-6 + 2 * (n - 1) / n * MODEL_BYTES / 20e9 + 2 * (n - 1) * NVLINK_HOP.ring_s
    assert allreduce_s(shape, MODEL_BYTES, "ring") == pytest.approx(expected_s, rel=1e-12)


def test_a_ring_over_servers_crosses_each_card_once_each_way() -> None:
    cluster = built(SPEC)
    shape = group_shape(cluster, range(64))
    carried = dict(allreduce_charges(shape, MODEL_BYTES, "ring"))
    for server in range(8):
        for card in ("nic.out", "nic.in"):
            link = cluster.links[f"server{server}.{card}"]
            assert carried[link] == pytest.approx(2 * 63 / 64 * MODEL_BYTES)
    hops_s = (126 - 16) * NVLINK_HOP.ring_s + 16 * (14e-6 + 1e-6)
    expected_s = 8.4e-6 + hops_s + 2 * 63 / 64 * MODEL_BYTES / 12e9
    assert allreduce_s(shape, MODEL_BYTES, "ring") == pytest.approx(expected_s, rel=1e-12)


def test_without_nvlink_the_gpus_of_a_socket_share_its_pcie_link() -> None:
    shape = group_shape(built(replace(SPEC, nvlink_bytes_per_s=0.0)), range(8))
    # Four of the ring's eight edges leave each socket.
    expected_s = 8.4e-6 + 14 * PCIE_HOP.ring_s + 2 * 7 / 8 * MODEL_BYTES / (16e9 / 4)
    assert allreduce_s(shape, MODEL_BYTES, "ring") == pytest.approx(expected_s, rel=1e-12)


def test_a_tree_over_servers_is_nccls_formula() -> None:
    shape = group_shape(built(SPEC), range(64))
    hops_s = 2 * (7 * NVLINK_HOP.tree_s + 3 * (14e-6 + 1e-6))
    # An inner server of one tree sends half to its parent and to two children, a leaf of the other
    # half to its parent: two bytes for each.
    expected_s = 8.4e-6 + hops_s + 2 * MODEL_BYTES / (12e9 * 0.92)
    assert allreduce_s(shape, MODEL_BYTES, "tree") == pytest.approx(expected_s, rel=1e-12)


def test_a_tree_wins_for_few_bytes_and_a_ring_for_many() -> None:
    shape = group_shape(built(SPEC), range(64))
    few, many = 1_000, MODEL_BYTES
    assert allreduce_s(shape, few, "tree") < allreduce_s(shape, few, "ring")
    assert allreduce_s(shape, few) == allreduce_s(shape, few, "tree")
    assert allreduce_charges(shape, few) == allreduce_charges(shape, few, "tree")
    assert allreduce_s(shape, many, "ring") < allreduce_s(shape, many, "tree")
    assert allreduce_s(shape, many) == allreduce_s(shape, many, "ring")
    assert allreduce_charges(shape, many) == allreduce_charges(shape, many, "ring")


def test_broadcast_is_a_pipelined_chain() -> None:
    shape = group_shape(built(SPEC), range(64))
    hops_s = 56 * NVLINK_HOP.ring_s + 7 * (14e-6 + 1e-6)
    expected_s = 8.4e-6 + hops_s + MODEL_BYTES / 12e9
    assert broadcast_s(shape, MODEL_BYTES) == pytest.approx(expected_s, rel=1e-12)


def test_a_group_of_one_costs_nothing() -> None:
    shape = group_shape(built(SPEC), [5])
    assert allreduce_s(shape, MODEL_BYTES) == 0.0
    assert allreduce_charges(shape, MODEL_BYTES) == ()
    assert broadcast_s(shape, MODEL_BYTES) == 0.0
    assert broadcast_charges(shape, MODEL_BYTES) == ()


def test_a_library_slower_than_the_card_sets_the_pace_between_servers_only() -> None:
    slow = built(replace(SPEC, collective_bytes_per_s=4e9))
    assert allreduce_s(group_shape(slow, range(64)), MODEL_BYTES, "ring") > 2 * 63 / 64 * 0.041
    assert allreduce_s(group_shape(slow, range(8)), MODEL_BYTES) == allreduce_s(
        group_shape(built(SPEC), range(8)), MODEL_BYTES
    )


def test_the_order_of_ranks_does_not_matter() -> None:
    cluster = built(SPEC)
    assert group_shape(cluster, [9, 0, 17, 1]) == group_shape(cluster, [0, 1, 9, 17])


def test_a_throttled_link_slows_a_collective_and_a_cut_one_stops_it() -> None:
    network = Network(simpy.Environment())
    cluster = Cluster(SPEC, network)
    shape = group_shape(cluster, range(16))
    whole_s = allreduce_s(shape, MODEL_BYTES, "ring")
    network.throttle(cluster.links["server1.nic.in"], 0.5)
    moving_s = 2 * 15 / 16 * MODEL_BYTES / 12e9
    assert allreduce_s(shape, MODEL_BYTES, "ring") == pytest.approx(whole_s + moving_s)
    network.throttle(cluster.links["server1.nic.in"], 0.0)
    assert allreduce_s(shape, MODEL_BYTES) == math.inf
    assert broadcast_s(shape, MODEL_BYTES) == math.inf


@pytest.mark.parametrize("ranks", [(0, 1, 2, 3), (0, 8, 16, 24, 32)], ids=["local", "network"])
def test_a_ring_agrees_with_flows_on_quiet_links(ranks: tuple[int, ...]) -> None:
    # Each of the 2(n-1) steps is n concurrent flows of one part; hops and launch come on top.
    env = simpy.Environment()
    network = Network(env)
    cluster = Cluster(SPEC, network)
    n, part_bytes = len(ranks), 20_000_000
    left = 0

    def step(steps: int) -> None:
        nonlocal left
        left = n if steps else 0
        for place in range(left):
            route = cluster.route(ranks[place], ranks[(place + 1) % n])
            network.transfer(route, part_bytes, lambda: arrived(steps))

    def arrived(steps: int) -> None:
        nonlocal left
        left -= 1
        if not left:
            step(steps - 1)

    step(2 * (n - 1))
    env.run()
    software = replace(SPEC, collective_launch_s=0.0, collective_network_hop_s=0.0)
    closed_s = allreduce_s(group_shape(built(software), ranks), n * part_bytes, "ring")
    if ranks[1] == 1:
        closed_s -= 2 * (n - 1) * NVLINK_HOP.ring_s
    assert env.now == pytest.approx(closed_s, rel=1e-9)


@given(SHAPES, ALGORITHMS, st.integers(0, 10**9), st.integers(0, 10**9))
def test_more_bytes_never_take_less_time(
    shape: GroupShape, algorithm: Algorithm, one: int, other: int
) -> None:
    fewer, more = sorted((one, other))
    assert allreduce_s(shape, fewer, algorithm) <= allreduce_s(shape, more, algorithm)
    assert broadcast_s(shape, fewer) <= broadcast_s(shape, more)


@given(st.integers(1, 63), st.integers(0, 10**9))
def test_more_servers_never_take_less_time(servers: int, size_bytes: int) -> None:
    fewer, more = one_a_server(servers), one_a_server(servers + 1)
    for algorithm in get_args(Algorithm):
        assert allreduce_s(fewer, size_bytes, algorithm) <= allreduce_s(more, size_bytes, algorithm)
    assert broadcast_s(fewer, size_bytes) <= broadcast_s(more, size_bytes)


@given(SHAPES, ALGORITHMS, st.integers(1, 10**9))
def test_no_link_is_charged_more_than_it_can_carry(
    shape: GroupShape, algorithm: Algorithm, size_bytes: int
) -> None:
    duration_s = allreduce_s(shape, size_bytes, algorithm)
    for link, carried_bytes in allreduce_charges(shape, size_bytes, algorithm):
        assert carried_bytes <= link.capacity_bytes_per_s * duration_s
    duration_s = broadcast_s(shape, size_bytes)
    for link, carried_bytes in broadcast_charges(shape, size_bytes):
        assert carried_bytes <= link.capacity_bytes_per_s * duration_s


@given(st.integers(2, 70))
def test_two_trees_reach_every_server_and_none_sends_more_than_twice(servers: int) -> None:
    shape = one_a_server(servers)
    sent = {
        link.name: carried
        for link, carried in allreduce_charges(shape, 1, "tree")
        if link.name.endswith("nic.out")
    }
    assert len(sent) == servers
    assert max(sent.values()) <= 2.0
    # Two trees, each of n - 1 edges used both ways for half of the bytes.
    assert sum(sent.values()) == 2 * (servers - 1)


def test_collectives_charge_what_they_price() -> None:
    network = Network(simpy.Environment())
    cluster = Cluster(SPEC, network)
    collectives = Collectives(cluster, network, CollectiveSpec(algorithm="ring"))
    ranks = tuple(range(64))
    shape = group_shape(cluster, ranks)
    assert collectives.allreduce_s(ranks, MODEL_BYTES) == allreduce_s(shape, MODEL_BYTES, "ring")
    assert collectives.broadcast_s(ranks, MODEL_BYTES) == broadcast_s(shape, MODEL_BYTES)
    card = cluster.links["server3.nic.out"]
    assert network.carried_bytes(card) == pytest.approx(3 * 63 / 64 * MODEL_BYTES)


def test_a_model_cut_into_tensors_pays_the_latency_each_time() -> None:
    network = Network(simpy.Environment())
    cluster = Cluster(SPEC, network)
    spec = CollectiveSpec(algorithm="ring", granularity="tensor")
    collectives = Collectives(cluster, network, spec, tensors_bytes=(600, 0, MODEL_BYTES - 600))
    ranks = tuple(range(64))
    shape = group_shape(cluster, ranks)
    latency_s = allreduce_s(shape, 0, "ring")
    whole_s = allreduce_s(shape, MODEL_BYTES, "ring")
    assert collectives.allreduce_s(ranks, MODEL_BYTES) == pytest.approx(whole_s + 2 * latency_s)
    card = cluster.links["server3.nic.out"]
    assert network.carried_bytes(card) == pytest.approx(2 * 63 / 64 * MODEL_BYTES)


def test_what_is_not_the_model_is_not_cut_like_it() -> None:
    network = Network(simpy.Environment())
    cluster = Cluster(SPEC, network)
    collectives = Collectives(
        cluster, network, CollectiveSpec(granularity="tensor"), tensors_bytes=(600, 400)
    )
    shape = group_shape(cluster, (0, 8))
    assert collectives.broadcast_s((0, 8), 1_000) > 1.9 * broadcast_s(shape, 500)
    assert collectives.broadcast_s((0, 8), 1_001) == broadcast_s(shape, 1_001)


@pytest.mark.parametrize("ranks", [(), (1, 1)])
def test_a_group_that_cannot_be_is_refused(ranks: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="each once"):
        group_shape(built(SPEC), ranks)
