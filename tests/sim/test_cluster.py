"""The cluster: where learners sit, and that routes are ways through the graph that is drawn."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise, product
from typing import Any

import networkx
import pytest
import simpy

from dualrt.core.errors import UsageError
from dualrt.sim.cluster import Cluster, ClusterSpec, Placement
from dualrt.sim.network import Network

SPEC = ClusterSpec(
    servers=2,
    gpus_per_server=4,
    nic_bytes_per_s=12.5e9,
    host_memory_bytes_per_s=60e9,
    nic_latency_s=2e-6,
    switch_latency_s=1e-6,
    pcie_latency_s=3e-6,
    nvlink_latency_s=4e-6,
)
NVLINK = replace(SPEC, nvlink_bytes_per_s=50e9)


def built(spec: ClusterSpec) -> Cluster:
    return Cluster(spec, Network(simpy.Environment()))


def names(cluster: Cluster, sender: int, receiver: int) -> list[str]:
    return [link.name for link in cluster.route(sender, receiver)]


def test_learners_fill_servers_in_order() -> None:
    cluster = built(SPEC)
    assert [cluster.place(learner) for learner in (0, 3, 4, 7)] == [(0, 0), (0, 3), (1, 0), (1, 3)]
    assert cluster.place(5) == Placement(server=1, gpu=1)


def test_gpus_are_dealt_to_sockets_in_equal_blocks() -> None:
    assert [built(SPEC).socket_of(gpu) for gpu in range(4)] == [0, 0, 1, 1]
    assert [built(replace(SPEC, sockets_per_server=1)).socket_of(gpu) for gpu in range(4)] == [
        0
    ] * 4
    six = built(replace(SPEC, gpus_per_server=6))
    assert [six.socket_of(gpu) for gpu in range(6)] == [0, 0, 0, 1, 1, 1]


def test_a_message_to_another_server_goes_through_both_hosts() -> None:
    assert names(built(SPEC), 2, 4) == [
        "server0.socket1.pcie.up",
        "server0.nic.out",
        "server1.nic.in",
        "server1.socket0.pcie.down",
    ]


def test_a_message_within_a_server_takes_pcie_where_there_is_no_nvlink() -> None:
    assert names(built(SPEC), 0, 3) == ["server0.socket0.pcie.up", "server0.socket1.pcie.down"]
    assert names(built(NVLINK), 0, 3) == ["server0.gpu0.nvlink.out", "server0.gpu3.nvlink.in"]


def test_nvlink_does_not_reach_other_servers() -> None:
    assert names(built(NVLINK), 0, 4) == names(built(SPEC), 0, 4)


def test_a_message_to_oneself_crosses_nothing() -> None:
    assert built(SPEC).route(3, 3) == ()


def test_a_route_is_made_once() -> None:
    cluster = built(SPEC)
    assert cluster.route(0, 5) is cluster.route(0, 5)


@pytest.mark.parametrize("spec", [SPEC, NVLINK], ids=["pcie", "nvlink"])
def test_latencies_of_routes_are_those_that_the_spec_sums_up(spec: ClusterSpec) -> None:
    cluster = built(spec)
    assert sum(link.latency_s for link in cluster.route(0, 1)) == pytest.approx(
        spec.local_latency_s
    )
    assert sum(link.latency_s for link in cluster.route(0, 7)) == pytest.approx(
        spec.network_latency_s
    )
    assert spec.network_latency_s == pytest.approx(11e-6)
    assert spec.local_latency_s == pytest.approx(4e-6 if spec is NVLINK else 6e-6)


@pytest.mark.parametrize("spec", [SPEC, NVLINK], ids=["pcie", "nvlink"])
def test_every_route_is_a_way_through_the_graph(spec: ClusterSpec) -> None:
    cluster = built(spec)
    edge_of = {data["link"]: edge for *edge, data in cluster.graph.edges(data=True)}
    for sender, receiver in product(range(spec.gpus), repeat=2):
        if sender == receiver:
            continue
        here, there = cluster.place(sender), cluster.place(receiver)
        stops = [f"server{here.server}.gpu{here.gpu}"]
        for name in names(cluster, sender, receiver):
            stops += edge_of[name]
        stops.append(f"server{there.server}.gpu{there.gpu}")
        for tail, head in pairwise(stops):
            assert tail == head or cluster.graph.has_edge(tail, head)


def test_the_graph_carries_the_capacity_and_latency_of_every_link() -> None:
    cluster = built(NVLINK)
    drawn = {data["link"]: data for *_, data in cluster.graph.edges(data=True) if data["link"]}
    assert set(drawn) == set(cluster.links)
    for name, link in cluster.links.items():
        assert drawn[name]["capacity_bytes_per_s"] == link.capacity_bytes_per_s
        assert drawn[name]["latency_s"] == link.latency_s


def test_the_cut_between_two_servers_is_the_network_card() -> None:
    graph = built(SPEC).graph
    limit = networkx.maximum_flow_value(
        graph, "server0.gpu0", "server1.gpu0", capacity="capacity_bytes_per_s"
    )
    assert limit == 12.5e9
    kinds = [data["kind"] for _, data in graph.nodes(data=True)]
    assert (kinds.count("gpu"), kinds.count("nic"), kinds.count("switch")) == (8, 2, 1)


def test_a_learner_without_a_gpu_is_refused_with_both_numbers() -> None:
    with pytest.raises(UsageError, match="need 9 GPUs, and 2 servers of 4 have 8"):
        built(SPEC).place(8)


def test_averaging_is_shared_by_the_learners_of_a_server() -> None:
    cluster = built(SPEC)
    (memory,) = cluster.host_route(0)
    assert memory.name == "server0.memory"
    assert memory.capacity_bytes_per_s == 60e9
    assert cluster.host_route(3) == (memory,)
    assert cluster.host_route(4) != (memory,)


def test_gpus_of_a_socket_share_its_pcie_link() -> None:
    env = simpy.Environment()
    network = Network(env)
    cluster = Cluster(replace(SPEC, pcie_latency_s=0.0), network)
    done: list[float] = []
    for sender in (0, 1):
        network.transfer(cluster.route(sender, 2), 16 * 10**9, lambda: done.append(env.now))
    env.run()
    assert done == [2.0, 2.0]


def test_the_busiest_links_come_first() -> None:
    env = simpy.Environment()
    network = Network(env)
    cluster = Cluster(SPEC, network)
    network.transfer(cluster.route(0, 4), 125 * 10**8, lambda: None)
    env.run()
    (first, used), (second, _), (third, less) = cluster.busiest(2.0, 3)
    assert (first, second) == ("server0.nic.out", "server1.nic.in")
    assert used == pytest.approx(0.5)
    assert third.endswith("pcie.up")
    assert less == pytest.approx(12.5 / 32)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("servers", 0),
        ("servers", 1.5),
        ("gpus_per_server", -1),
        ("sockets_per_server", 0),
        ("nic_bytes_per_s", 0.0),
        ("nic_bytes_per_s", math.inf),
        ("pcie_bytes_per_s", math.nan),
        ("nvlink_bytes_per_s", -1.0),
        ("host_memory_bytes_per_s", math.inf),
        ("socket_bytes_per_s", 0.0),
        ("nic_latency_s", -1e-6),
        ("message_overhead_s", math.inf),
        ("collective_launch_s", math.nan),
    ],
)
def test_a_number_that_cannot_be_is_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(UsageError, match=f"cluster: {field} = "):
        replace(SPEC, **{field: value})
