"""What a specification may say: groups, servers, seeds, schedules, and functions of one's own."""

from __future__ import annotations

import json
from pathlib import Path

import networkx as nx
import pytest

from dualrt.core.errors import TopologyError
from dualrt.topology import checks, files, graphs, placement, plans, specs

from . import rates

SHIPPED = Path(__file__).resolve().parents[2] / "topologies"


@pytest.mark.parametrize("members", [1, 3, 8])
def test_a_hierarchy_has_whole_groups_and_one_edge_for_each_between_them(members: int) -> None:
    graph = specs.build(f"hierarchical:8x{members}/exponential")
    across = [(a // members, b // members) for a, b in graph.edges if a // members != b // members]
    assert sorted(across) == sorted(graphs.exponential(8).edges)
    inside = graph.number_of_edges() - len(across)
    assert inside == 8 * members * (members - 1) // 2


def test_the_loss_of_one_learner_does_not_split_a_hierarchy_on_a_ring() -> None:
    assert list(nx.articulation_points(specs.build("hierarchical:4x4/ring"))) == []


def test_a_hierarchy_is_of_any_graph() -> None:
    assert len(specs.build("hierarchical:4x2/hierarchical:2x2/path")) == 8
    assert len(specs.build("hierarchical:3x2")) == 6


@pytest.mark.parametrize("inner", ["torus:8x8", "exponential", "random-regular:64x4", "ring"])
def test_a_cluster_aware_graph_is_the_same_graph_with_less_between_servers(inner: str) -> None:
    plain = specs.build(inner, 64)
    aware = specs.build(f"cluster-aware:8x8/{inner}")
    assert sorted(d for _, d in plain.degree) == sorted(d for _, d in aware.degree)
    gap = rates.of_plan(plans.neighbours(plain))
    assert rates.of_plan(plans.neighbours(aware)) == pytest.approx(gap)
    before, after = (placement.crossing(graph, 8) for graph in (plain, aware))
    assert after <= before
    if inner in ("torus:8x8", "random-regular:64x4"):
        assert after < before


def test_a_rack_aware_graph_saves_edges_between_racks_first_and_then_between_servers() -> None:
    torus = specs.build("random-regular:64x4@3")
    servers = specs.build("cluster-aware:16x4/random-regular:64x4@3")
    racks = specs.build("cluster-aware:2x8x4/random-regular:64x4@3")
    assert nx.is_isomorphic(torus, racks)
    assert placement.crossing(racks, 32) < placement.crossing(servers, 32)
    assert placement.crossing(racks, 32) < placement.crossing(torus, 32)
    assert placement.crossing(racks, 4) < placement.crossing(torus, 4)


def test_a_shuffled_ring_is_put_in_order_again() -> None:
    shuffled = nx.relabel_nodes(graphs.ring(16), {i: i * 7 % 16 for i in range(16)})
    assert placement.crossing(placement.cluster_aware(shuffled, 4), 4) <= 6
    assert placement.crossing(shuffled, 4) > 8


def test_a_bipartite_exponential_graph_is_bipartite_at_every_even_size() -> None:
    for learners in (2, 4, 6, 10, 64, 100):
        graph = graphs.bipartite_exponential(learners)
        assert nx.is_bipartite(graph)
        assert nx.is_connected(graph)


@pytest.mark.parametrize("spec", ["random-regular:10x3", "random-regular:33x4@9"])
def test_a_random_regular_graph_is_regular_connected_and_known_by_its_seed(spec: str) -> None:
    graph = specs.build(spec)
    assert nx.is_connected(graph)
    assert nx.is_regular(graph)
    assert nx.utils.graphs_equal(graph, specs.build(spec))


def test_seeds_make_different_random_graphs() -> None:
    drawn = [specs.build(f"random-regular:20x4@{seed}") for seed in range(5)]
    assert len({tuple(graph.edges) for graph in drawn}) == 5


@pytest.mark.parametrize("spec", ["alternating-ring", "random-matching", "random-ring"])
def test_a_schedule_in_a_scenario_brings_its_plan_along(spec: str) -> None:
    plan = plans.plan("pairwise", specs.build(spec, 8), seed=3)
    checks.check_mixing(plan)
    direct = specs.read(f"{spec}:8", seed=3)
    assert direct.plan is not None
    assert [plan.row(0, k) for k in range(6)] == [direct.plan().row(0, k) for k in range(6)]
    with pytest.raises(TopologyError, match="cannot be mixed by 'neighbours'"):
        plans.plan("neighbours", specs.build("random-matching", 8))


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("hierarchical:8", "takes 2 numbers"),
        ("hierarchical:8x8/rnig", "no graph is called 'rnig'"),
        ("cluster-aware:4x4/ring:15x", "'15x' is not a size"),
        ("random-regular:5x3", "cannot all have 3 neighbours"),
        ("bipartite-exponential:7", "Take 8"),
        ("ring:8@3", "nothing in ring is random"),
        ("alternating-ring:8@3", "nothing in alternating-ring is random"),
        ("one-peer-exponential:8@3", "nothing in one-peer-exponential is random"),
        ("random-regular:2x1", "Give at least 3"),
        ("random-ring:8@x", "'x' is not a seed"),
        ("one-peer-exponential:8", "pushes one way"),
        ("complete:4000", "more than the 2,000,000 that fit"),
        ("hierarchical:100x1000/ring", "more than the 2,000,000 that fit"),
        ("random-regular:90000x50", "more than the 2,000,000 that fit"),
        ("ring:100001", "more than 100,000 learners do not fit"),
        ("ring:" + "9" * 5000, "more than 100,000 learners do not fit"),
        ("torus:99999x99999", "9,999,800,001 learners are more than the 100,000 that fit"),
        ("hierarchical:8x8/random-ring", "is another graph each round"),
        ("cluster-aware:2x0x4/ring", "takes 3 numbers from 1"),
        ("hierarchical:2x4/ring@3", "nothing in ring is random"),
        ("altrnating-ring:8", "Did you mean 'alternating-ring'"),
    ],
)
def test_what_cannot_be_says_why(spec: str, told: str) -> None:
    with pytest.raises(TopologyError) as caught:
        specs.build(spec)
    assert told in str(caught.value)


@pytest.mark.parametrize("spec", ["random-matching:8@7", "random-ring:8@7"])
def test_the_seed_of_a_schedule_counts_for_more_than_that_of_its_scenario(spec: str) -> None:
    plan = plans.plan("pairwise", specs.build(spec), seed=3)
    drawn = plans.plan("pairwise", specs.build(spec.removesuffix("@7")), seed=7)
    assert [plan.row(0, k) for k in range(6)] == [drawn.row(0, k) for k in range(6)]


def test_an_at_in_the_name_of_a_file_is_a_letter(tmp_path: Path) -> None:
    (tmp_path / "me@home").mkdir()
    files.write(graphs.ring(4), tmp_path / "me@home" / "ring@4.json")
    assert len(specs.build("me@home/ring@4.json", base=tmp_path)) == 4
    assert specs.read(str(tmp_path / "me@home" / "ring@4.json")).schedule.learners == 4


def test_a_schedule_has_its_own_mixing() -> None:
    with pytest.raises(TopologyError, match="says how it is mixed"):
        specs.read("random-ring:8", "metropolis")


@pytest.mark.parametrize("file", sorted(SHIPPED.glob("*.json")), ids=lambda file: file.stem)
def test_a_shipped_graph_has_its_source_and_can_be_mixed_on(file: Path) -> None:
    graph = specs.build(str(file))
    assert "arXiv:" in json.loads(file.read_text())["graph"]["source"]
    checks.check_mixing(plans.neighbours(graph))


@pytest.mark.parametrize(
    ("name", "spec"),
    [
        ("ring-16", "ring:16"),
        ("ring-64", "ring:64"),
        ("super-learners-8x8", "hierarchical:8x8/ring"),
    ],
)
def test_a_shipped_graph_is_the_one_of_its_name(name: str, spec: str) -> None:
    assert nx.utils.graphs_equal(specs.build(str(SHIPPED / f"{name}.json")), specs.build(spec))


def test_what_is_pushed_along_may_be_a_directed_file(tmp_path: Path) -> None:
    graph = nx.DiGraph([(0, 1), (1, 2), (2, 0), (0, 2)])
    files.write(graph, tmp_path / "oneway.graphml")
    assert specs.pushes("oneway.graphml", 3, base=tmp_path).initiates(0, 0) == (
        (1, 1 / 3),
        (2, 1 / 3),
    )
    with pytest.raises(TopologyError, match="with the algorithm sgp"):
        specs.build("oneway.graphml", 3, base=tmp_path)
