"""The cluster: where learners sit, and that routes are ways through the graph that is drawn."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from itertools import pairwise, product
from typing import Any

import networkx
import pytest

from dualrt.core.errors import UsageError
from dualrt.sim.clock import Clock
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
RACKS = replace(
    SPEC, servers=5, servers_per_rack=2, rack_bytes_per_s=25e9 / 3, spine_latency_s=7e-6
)
"""Two racks of two servers and one of one, oversubscribed 3 to 1."""


def built(spec: ClusterSpec) -> Cluster:
    return Cluster(spec, Network(Clock()))


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


def latency_s(cluster: Cluster, sender: int, receiver: int) -> float:
    return sum(link.latency_s for link in cluster.route(sender, receiver))


def test_a_message_to_oneself_crosses_nothing() -> None:
    assert built(SPEC).route(3, 3) == ()


def test_a_route_is_made_once() -> None:
    cluster = built(SPEC)
    assert cluster.route(0, 5) is cluster.route(0, 5)


@pytest.mark.parametrize("spec", [SPEC, NVLINK], ids=["pcie", "nvlink"])
def test_a_route_has_the_latencies_of_all_that_it_crosses(spec: ClusterSpec) -> None:
    cluster = built(spec)
    inside, outside = (latency_s(cluster, 0, peer) for peer in (1, 7))
    assert inside == pytest.approx(4e-6 if spec is NVLINK else 6e-6)
    assert outside == pytest.approx(11e-6)


def test_a_message_to_another_rack_goes_over_the_spine() -> None:
    assert names(built(RACKS), 0, 4) == names(built(SPEC), 0, 4)
    assert names(built(RACKS), 4, 19) == [
        "server1.socket0.pcie.up",
        "server1.nic.out",
        "rack0.up",
        "rack2.down",
        "server4.nic.in",
        "server4.socket1.pcie.down",
    ]


def test_the_spine_adds_its_latency_from_rack_to_rack_only() -> None:
    cluster = built(RACKS)
    near, far = (latency_s(cluster, 0, peer) for peer in (4, 8))
    assert near == pytest.approx(11e-6)
    assert far == pytest.approx(11e-6 + 7e-6)


def test_one_rack_is_one_switch() -> None:
    alone = built(replace(SPEC, servers_per_rack=2, rack_bytes_per_s=1.0))
    assert alone.links.keys() == built(SPEC).links.keys()
    assert "spine" not in alone.graph


def test_servers_of_a_rack_share_its_way_to_the_spine() -> None:
    env = Clock()
    network = Network(env)
    cluster = Cluster(replace(RACKS, spine_latency_s=0.0, nic_latency_s=0.0), network)
    ends: list[tuple[float, str]] = []

    def note(name: str) -> None:
        ends.append((env.now, name))

    for name, sender, receiver in (("away", 0, 8), ("from beside", 4, 12), ("home", 1, 5)):
        route = cluster.route(sender, receiver)
        network.transfer(route, 25 * 10**9 // 6, partial(note, name))
    env.run()
    # The card of server 0 has 12.5e9 for two; "away" gets half of the rack's 25e9 / 3.
    (first_s, first), (second_s, second), (third_s, third) = ends
    assert (first, second, third) == ("home", "away", "from beside")
    assert first_s == pytest.approx(0.5, abs=1e-4)
    assert second_s == third_s == pytest.approx(1.0, abs=1e-4)


def test_a_rack_is_no_wider_than_what_its_servers_can_use() -> None:
    wide = built(replace(RACKS, rack_bytes_per_s=math.inf))
    assert wide.links["rack0.up"].capacity_bytes_per_s == 25e9


def test_the_cut_between_two_racks_is_their_way_to_the_spine() -> None:
    graph = built(replace(RACKS, rack_bytes_per_s=10e9)).graph
    limit = networkx.maximum_flow_value(
        graph, "server0.gpu0", "server2.gpu0", capacity="capacity_bytes_per_s"
    )
    assert limit == 10e9


THREADS = replace(NVLINK, io_thread_bytes_per_s=1e9)


def test_a_message_crosses_the_threads_of_both_ends_and_a_collective_does_not() -> None:
    cluster = built(THREADS)
    for peer in (1, 6):
        wires = names(cluster, 0, peer)
        threads = ["server0.gpu0.io.out", f"server{peer // 4}.gpu{peer % 4}.io.in"]
        crossed = [link.name for link in cluster.message_route(0, peer)]
        assert crossed == [threads[0], *wires, threads[1]]
    assert cluster.message_route(2, 2) == ()


def test_without_a_limit_a_message_crosses_the_wires_alone() -> None:
    cluster = built(SPEC)
    assert cluster.message_route(0, 6) is cluster.route(0, 6)


def test_the_connections_of_a_learner_share_its_thread() -> None:
    env = Clock()
    network = Network(env)
    cluster = Cluster(replace(THREADS, nic_latency_s=0.0, pcie_latency_s=0.0), network)
    ends: list[float] = []
    for receiver in (4, 5):
        network.transfer(cluster.message_route(0, receiver), 10**9, lambda: ends.append(env.now))
    # The other direction is another link.
    network.transfer(cluster.message_route(4, 0), 10**9, lambda: ends.append(env.now))
    env.run()
    assert ends == pytest.approx([1.0, 2.0, 2.0], abs=1e-4)


@pytest.mark.parametrize("spec", [SPEC, NVLINK, RACKS], ids=["pcie", "nvlink", "racks"])
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
    cluster = built(replace(RACKS, nvlink_bytes_per_s=50e9, io_thread_bytes_per_s=1e9))
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
    env = Clock()
    network = Network(env)
    cluster = Cluster(replace(SPEC, pcie_latency_s=0.0), network)
    done: list[float] = []
    for sender in (0, 1):
        network.transfer(cluster.route(sender, 2), 16 * 10**9, lambda: done.append(env.now))
    env.run()
    assert done == [2.0, 2.0]


def test_the_busiest_links_come_first() -> None:
    env = Clock()
    network = Network(env)
    cluster = Cluster(SPEC, network)
    network.transfer(cluster.route(0, 4), 125 * 10**8, lambda: None)
    env.run()
    (first, used), (second, _), (third, less), *_ = cluster.busiest(2.0)
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
        ("servers_per_rack", 0),
        ("servers_per_rack", 2.0),
        ("rack_bytes_per_s", 0.0),
        ("spine_latency_s", -1.0),
        ("io_thread_bytes_per_s", 0.0),
        ("nic_bytes_per_s", None),
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


def test_what_is_staged_crosses_the_memory_of_both_servers_and_no_nvlink() -> None:
    cluster = built(NVLINK)
    crossed = [[link.name for link in cluster.staged_route(0, peer)] for peer in (2, 6)]
    assert crossed == [
        [
            "server0.socket0.pcie.up",
            "server0.memory",
            "server0.memory",
            "server0.socket1.pcie.down",
        ],
        [
            "server0.socket0.pcie.up",
            "server0.memory",
            "server0.nic.out",
            "server1.nic.in",
            "server1.memory",
            "server1.socket1.pcie.down",
        ],
    ]
