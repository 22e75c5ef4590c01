"""Patterns: which links a collective crosses, and how often."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualrt.core.errors import UsageError
from dualrt.sim.clock import Clock
from dualrt.sim.cluster import Cluster, ClusterSpec
from dualrt.sim.network import Network
from dualrt.sim.patterns import TREE_EFFICIENCY, Formation, Pattern
from tests.support.clusters import SPEC

RACKS = replace(SPEC, servers=5, servers_per_rack=2, rack_bytes_per_s=8e9, spine_latency_s=7e-6)
"""Two racks of two servers and one of one, oversubscribed 3 to 1."""


def built(spec: ClusterSpec = SPEC) -> Cluster:
    return Cluster(spec, Network(Clock()))


def crossings(pattern: Pattern, ending: str) -> Counter[str]:
    """How often links with such names are crossed."""
    return Counter(link.name for link in pattern.crossings if link.name.endswith(ending))


def test_a_ring_crosses_each_card_once_each_way() -> None:
    ring = Formation(built(), range(64)).ring
    assert set(crossings(ring, "nic.out").values()) == {1}
    assert set(crossings(ring, "nic.in").values()) == {1}
    assert ring.cap_bytes_per_s == 12e9


def test_without_nvlink_the_gpus_of_a_socket_share_its_pcie_link() -> None:
    ring = Formation(built(replace(SPEC, nvlink_bytes_per_s=0.0)), range(8)).ring
    assert crossings(ring, "pcie.up") == {
        "server0.socket0.pcie.up": 4,
        "server0.socket1.pcie.up": 4,
    }
    assert ring.cap_bytes_per_s == 16e9 / 4


def test_a_chain_is_the_ring_without_the_edge_to_its_root() -> None:
    formation = Formation(built(), [0, 1, 8, 9])
    assert formation.chain(8).edges == ((8, 9), (9, 0), (0, 1))


def test_inside_is_a_ring_on_every_server() -> None:
    inside = Formation(built(), [0, 1, 2, 8, 9, 10]).inside
    assert inside.edges == ((0, 1), (1, 2), (2, 0), (8, 9), (9, 10), (10, 8))
    assert (inside.near_latency_s, inside.far_latency_s) == (0.0, 0.0)


def test_lanes_are_a_ring_for_each_place_on_a_server() -> None:
    lanes = Formation(built(), [0, 1, 8, 9, 16, 17]).lanes
    assert lanes.edges == ((0, 8), (8, 16), (16, 0), (1, 9), (9, 17), (17, 1))
    assert lanes.cap_bytes_per_s == 12e9 / 2
    assert lanes.far_latency_s == pytest.approx(1e-6)


def test_the_library_limits_what_a_server_sends_and_nothing_inside() -> None:
    formation = Formation(built(replace(SPEC, collective_bytes_per_s=4e9)), range(64))
    assert formation.ring.cap_bytes_per_s == 4e9
    assert formation.lanes.cap_bytes_per_s == 4e9 / 8
    assert formation.inside.cap_bytes_per_s == 20e9


def test_a_throttled_link_sets_the_pace_of_all_edges() -> None:
    network = Network(Clock())
    cluster = Cluster(SPEC, network)
    lanes = Formation(cluster, range(16)).lanes
    network.throttle(cluster.links["server1.nic.in"], 0.5)
    assert lanes.pace_bytes_per_s() == 12e9 / 8 / 2
    assert lanes.cap_bytes_per_s == 12e9 / 8
    network.throttle(cluster.links["server1.nic.in"], 0.0)
    assert lanes.pace_bytes_per_s() == 0.0


@given(st.integers(2, 70))
def test_two_trees_reach_every_server_and_none_sends_more_than_twice(servers: int) -> None:
    tree = Formation(built(replace(SPEC, servers=servers, gpus_per_server=1)), range(servers)).tree
    sent = crossings(tree, "nic.out")
    assert len(sent) == servers
    # An edge carries half of the bytes: four make two for each that is reduced.
    assert max(sent.values()) <= 4
    assert sum(sent.values()) == 4 * (servers - 1)
    assert tree.cap_bytes_per_s >= TREE_EFFICIENCY * 12e9 / 4


def test_a_tree_is_a_chain_inside_a_server() -> None:
    tree = Formation(built(), range(3)).tree
    assert Counter(tree.edges) == {(0, 1): 2, (1, 2): 2, (1, 0): 2, (2, 1): 2}


@given(st.permutations(range(12)))
def test_the_order_of_ranks_does_not_matter(ranks: list[int]) -> None:
    cluster = built()
    assert Formation(cluster, ranks).ring.edges == Formation(cluster, range(12)).ring.edges


def test_even_groups_have_as_many_ranks_on_every_server() -> None:
    cluster = built()
    assert Formation(cluster, [0, 1, 8, 9]).is_even
    assert Formation(cluster, [5]).is_even
    assert not Formation(cluster, [0, 1, 8]).is_even


@pytest.mark.parametrize("ranks", [(), (1, 1)])
def test_a_group_that_cannot_be_is_refused(ranks: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="each once"):
        Formation(built(), ranks)


@pytest.mark.parametrize(
    ("servers", "crossing"), [((0, 1), 0), ((0, 1, 2, 3), 2), ((0, 2), 2), ((0, 2, 4), 3)]
)
def test_a_ring_of_servers_pays_for_the_spine_where_it_changes_racks(
    servers: tuple[int, ...], crossing: int
) -> None:
    first = [8 * server for server in servers]
    ring, at_one_switch = (Formation(built(spec), first).ring for spec in (RACKS, SPEC))
    more_s = ring.far_latency_s - at_one_switch.far_latency_s
    assert len(servers) * more_s == pytest.approx(crossing * 7e-6)


def test_racks_limit_what_crosses_between_them() -> None:
    formation = Formation(built(RACKS), range(32))
    assert formation.ring.cap_bytes_per_s == 8e9
    assert formation.lanes.cap_bytes_per_s == 8e9 / 8
    assert set(crossings(formation.lanes, "rack0.up").values()) == {8}


def test_every_edge_counts_once_in_the_mean_latency() -> None:
    spec = replace(SPEC, nvlink_latency_s=2e-6, nic_latency_s=3e-6, pcie_latency_s=1e-6)
    ring = Formation(built(spec), range(16)).ring
    assert ring.near_latency_s == pytest.approx(2e-6)
    assert ring.far_latency_s == pytest.approx(8e-6)


def test_a_ring_through_the_hosts_crosses_their_memory_at_both_ends_of_every_edge() -> None:
    ring = Formation(built(), range(64), "host").ring
    assert set(crossings(ring, ".memory").values()) == {16}
    assert crossings(ring, ".nvlink.out") == Counter()
    assert ring.cap_bytes_per_s == SPEC.host_memory_bytes_per_s / 16


def test_what_cards_read_and_write_by_themselves_takes_nothing_of_the_memory() -> None:
    """Seven of the eight edges that begin on a server end there, and cross its memory twice."""
    ring = Formation(built(), range(64), "rdma").ring
    assert set(crossings(ring, ".memory").values()) == {14}
    assert crossings(ring, ".nvlink.out") == Counter()
    staged = Formation(built(), range(64), "host").ring
    for ending in (".up", ".down", "nic.in", "nic.out"):
        assert crossings(ring, ending) == crossings(staged, ending)
