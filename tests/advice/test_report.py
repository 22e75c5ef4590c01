"""The verdict: what is refused, why, and what would be better."""

from __future__ import annotations

from pathlib import Path

import networkx as nx
import pytest

from dualrt.advice import better, candidates
from dualrt.advice.better import with_better
from dualrt.advice.examination import examine, glance
from dualrt.advice.report import Demand, Report
from dualrt.advice.setting import setting
from dualrt.core.errors import TopologyError, UsageError
from dualrt.scenario import shipped
from dualrt.topology import files, specs


def judged(
    spec: str, mixing: str | None = None, cluster: str | None = None, **demand: object
) -> Report:
    topology = specs.read(spec, mixing)
    where = setting(topology.schedule.learners, cluster)
    wanted = Demand(**demand)  # type: ignore[arg-type]  # keywords of a dataclass, as they come
    return with_better(examine(topology, where, wanted), where, wanted)


def test_a_ring_of_sixteen_passes_with_the_papers_figures() -> None:
    report = judged("ring:16")
    assert (report.passed, report.connected, report.bipartite) == (True, True, True)
    assert report.second_eigenvalue == pytest.approx(0.949253)
    assert report.consensus_rounds == 133
    assert (report.diameter, report.degree_max, report.min_cut) == (8, 2, 2)
    assert report.bytes_per_step == 2 * report.model_bytes == 345_239_552
    assert report.simulated
    assert report.staleness_mean is not None
    assert report.staleness_mean > 0


def test_an_odd_ring_deadlocks_with_locks_and_not_with_deltas() -> None:
    assert judged("ring:5").passed
    report = judged("ring:5", protocol="lock")
    assert not report.passed
    assert "the lock-based protocol can deadlock" in report.verdict
    assert report.protocols["lock"].startswith("deadlocks")
    assert not report.simulated


def test_the_step_is_that_of_the_protocol_that_is_asked_for() -> None:
    # Where the host is not what everybody waits for, as it is on the papers' clusters.
    cloud = "v100-cloud-100g"
    delta, lock = (judged("ring:6", None, cloud, protocol=way) for way in ("delta", "lock"))
    assert delta.simulated
    assert lock.simulated
    assert lock.step_time_s > delta.step_time_s


@pytest.mark.parametrize("mixing", [None, "pairwise", "random-pairs"])
def test_a_graph_in_parts_fails_and_a_better_one_is_named(
    tmp_path: Path, mixing: str | None
) -> None:
    (tmp_path / "parts.edgelist").write_text("0 1\n2 3\n")
    report = judged(str(tmp_path / "parts.edgelist"), mixing)
    assert (report.connected, report.passed, report.diameter) == (False, False, None)
    assert report.spectral_gap == 0
    assert report.cut_off == (2, 3)
    assert "no exchanges lead from learner 0 to 2, 3, so they never agree" in report.verdict
    assert report.better is not None


def test_uneven_shares_move_the_mean_and_fail() -> None:
    report = judged("star:8", "uniform")
    assert (report.doubly_stochastic, report.passed) == (False, False)
    assert report.spectral_gap is None
    assert "column 0 sums to 3.625, so averaging moves the mean. Use metropolis" in report.verdict
    assert report.better is not None
    assert (report.better["spec"], report.better["mixing"]) == ("star:8", "metropolis")
    assert "Nearest better: star:8 with metropolis shares" in report.verdict


@pytest.mark.parametrize(
    ("rows", "doubly_stochastic", "told"),
    [
        (
            "1.2,-0.4,0.2\n-0.4,1.2,0.2\n0.2,0.2,0.6\n",
            False,
            "learner 0 gives -0.4 to 1, and a share below 0",
        ),
        ("0.6,0.2,0.2\n0.2,0.6,0.2\n0.4,0.2,0.6\n", False, "row 2 sums to 1.2, so averaging"),
        (
            "0.5,0.5,0\n0,0.5,0.5\n0.5,0,0.5\n",
            True,
            "an exchange has one share for both, but learner 0 gives 0.5 to 1, which gives 0 to it",
        ),
    ],
)
def test_shares_of_ones_own_that_nobody_can_exchange_by_fail_with_the_reason(
    tmp_path: Path, rows: str, doubly_stochastic: bool, told: str
) -> None:
    (tmp_path / "mine.csv").write_text(rows)
    report = judged("ring:3", f"matrix:{tmp_path / 'mine.csv'}")
    assert (report.passed, report.simulated) == (False, False)
    assert report.doubly_stochastic == doubly_stochastic
    assert told in report.verdict
    assert report.better is not None
    assert (report.better["spec"], report.better["mixing"]) == ("ring:3", "metropolis")


def test_slow_shares_are_bettered_by_the_graph_itself_with_others(tmp_path: Path) -> None:
    rows = "0.9,0.05,0.05\n0.05,0.9,0.05\n0.05,0.05,0.9\n"
    (tmp_path / "slow.csv").write_text(rows)
    report = judged("ring:3", f"matrix:{tmp_path / 'slow.csv'}")
    assert report.passed
    assert "Nearest better: ring:3 with metropolis shares, 1 round" in report.verdict


def test_a_graph_that_passes_is_bettered_by_its_own_shares_if_they_were_the_slow_part(
    tmp_path: Path,
) -> None:
    """Ten neighbours of one learner hold back a path, if all edges have the share of its edges."""
    broom = nx.star_graph(10)
    nx.add_path(broom, [10, 11, 12, 13, 14, 15])
    files.write(broom, tmp_path / "broom.json")
    spec = str(tmp_path / "broom.json")
    report = judged(spec, "max-degree")
    assert report.passed
    assert report.better is not None
    assert (report.better["spec"], report.better["mixing"]) == (spec, "metropolis")


def test_shares_below_0_fail_and_say_how_fast_they_would_mix() -> None:
    pytest.importorskip("cvxpy")
    report = judged("star:5", "fdla")
    assert (report.doubly_stochastic, report.passed, report.simulated) == (False, False, False)
    assert report.second_eigenvalue == pytest.approx(2 / 3, abs=1e-4)
    assert "learner 0 gives -0.333" in report.verdict


def test_slow_mixing_fails_by_the_rounds_that_are_asked_for() -> None:
    assert judged("ring:16", rounds=133).passed
    report = judged("ring:16", rounds=132)
    assert not report.passed
    assert report.better is not None
    assert report.better["consensus_rounds"] <= 132


def test_links_that_cannot_carry_it_fail_on_a_named_cluster_only() -> None:
    assert judged("ring:4").passed
    report = judged("ring:4", cluster="desktops-4x1g")
    assert not report.passed
    assert report.bottleneck is not None
    assert report.bottleneck.link == "server0.nic.out"
    assert report.bottleneck.busy_s == pytest.approx(2 * 172_619_776 / 0.125e9)


def test_the_centre_of_a_star_is_a_single_point_of_failure() -> None:
    report = judged("star:8")
    assert report.single_points == (0,)
    assert "would split it" in report.verdict


def test_what_is_better_mixes_faster_for_no_more_bytes() -> None:
    report = judged("ring:16")
    assert report.better is not None
    assert report.better["consensus_rounds"] < 133
    assert report.better["bytes_per_step"] <= report.bytes_per_step
    assert report.better["spec"] in report.verdict


def test_the_nearest_keeps_partners_and_links_and_the_soonest_is_named_beside_it() -> None:
    report = judged("ring:16")
    assert report.better is not None
    assert report.soonest is not None
    assert report.bottleneck is not None
    assert (report.better["spec"], report.better["degree_max"]) == ("alternating-ring:16", 2)
    assert (report.soonest["spec"], report.soonest["degree_max"]) == ("hypercube:16", 4)
    assert report.soonest["consensus_rounds"] < report.better["consensus_rounds"]
    assert report.better["busy_s"] == pytest.approx(report.bottleneck.busy_s / 2)
    assert "88 rounds for 0.5 times the bytes: as many partners at most (2)" in report.verdict
    assert "4 partners at most and not 2, the busiest link busy for 27.6 ms" in report.verdict


def test_of_graphs_that_send_as_little_the_one_that_loads_the_links_like_this_is_nearest() -> None:
    report = judged("complete:64", cluster="h100-8x8")
    assert not report.passed
    found = [one.report for one in better._better(report, setting(64, "h100-8x8"), Demand())]
    assert report.better is not None
    changes = {(one.spec, one.mixing): better._change(report, one) for one in found}
    assert len(changes) > 2
    assert min(changes, key=changes.__getitem__) == (report.better["spec"], report.better["mixing"])


def test_a_graph_that_racks_cannot_carry_is_numbered_for_them() -> None:
    # Any order of learners but the racks' own, and a model whose own connections hide.
    topology = specs.read("random-regular:192x4")
    where = setting(192, "leaf-spine-10g", model_bytes=40_000_000)
    report = with_better(glance(topology, where), where, Demand())
    assert not report.passed
    assert report.better is not None
    assert report.better["spec"] == "cluster-aware:4x48/random-regular:192x4"
    assert report.better["bytes_per_step"] == report.bytes_per_step
    assert "rounds for the same bytes: as many partners at most (4)" in report.verdict


def test_an_odd_number_of_learners_with_locks_is_given_a_path() -> None:
    report = judged("ring:15", protocol="lock")
    assert report.better is not None
    assert report.better["spec"] == "path:15"


@pytest.mark.parametrize("protocol", ["delta", "lock"])
def test_a_cube_met_along_one_edge_at_a_time_beats_all_that_send_as_little(protocol: str) -> None:
    report = judged("alternating-ring:16", protocol=protocol)
    assert report.better is not None
    assert (report.better["spec"], report.better["mixing"]) == ("hypercube:16", "pairwise")
    assert report.better["consensus_rounds"] == 4
    assert "hypercube:16 with pairwise shares, 4 rounds for the same bytes" in report.verdict
    assert judged("hypercube:16", "pairwise", protocol=protocol).better is None


def test_what_is_better_for_pushes_can_be_pushed_along(tmp_path: Path) -> None:
    oneway = nx.cycle_graph(12, create_using=nx.DiGraph)
    files.write(oneway, tmp_path / "oneway.graphml")
    report = judged(str(tmp_path / "oneway.graphml"))
    assert report.better is not None
    assert report.better["spec"] == "one-peer-exponential:12"
    for candidate in candidates.pushed_along(12, setting(12)):
        assert specs.pushes(candidate.spec).learners == 12


def test_nothing_beats_everyone_at_once() -> None:
    assert judged("complete:8").better is None


@pytest.mark.parametrize(
    "spec", ["ring:1", "path:2", "random-matching:2", "one-peer-exponential:2"]
)
def test_the_smallest_topologies_are_judged_too(spec: str) -> None:
    report = judged(spec)
    assert report.passed
    assert report.bipartite


def test_edges_of_one_way_are_judged_by_push_sum(tmp_path: Path) -> None:
    oneway = nx.DiGraph([(0, 1), (1, 2), (2, 3), (3, 0), (0, 2)])
    files.write(oneway, tmp_path / "oneway.graphml")
    report = judged(str(tmp_path / "oneway.graphml"))
    assert (report.pushes, report.connected, report.doubly_stochastic) == (True, True, False)
    assert report.passed
    assert report.second_eigenvalue is not None
    assert 0 < report.second_eigenvalue < 1
    assert (report.diameter, report.min_cut, report.single_points) == (3, 1, (0, 2, 3))
    assert "nobody waits" in report.protocols["push"]
    assert "no deadlock, as nothing is answered" in report.verdict
    assert report.simulated
    assert report.step_time_s > report.gradient_s


def test_edges_of_one_way_without_a_way_back_fail(tmp_path: Path) -> None:
    files.write(nx.DiGraph([(0, 1), (1, 2)]), tmp_path / "oneway.json")
    report = judged(str(tmp_path / "oneway.json"))
    assert (report.connected, report.passed, report.diameter) == (False, False, None)
    assert report.cut_off == (1, 2)
    assert "no pushes lead from learner 0 to 1, 2 and back" in report.verdict


def test_edges_of_one_way_take_no_other_mixing(tmp_path: Path) -> None:
    files.write(nx.DiGraph([(0, 1), (1, 0)]), tmp_path / "oneway.json")
    with pytest.raises(TopologyError, match="each learner pushes the same part"):
        judged(str(tmp_path / "oneway.json"), "metropolis")


@pytest.mark.parametrize("name", shipped.names("topologies"))
def test_a_ring_on_each_shipped_cluster_is_judged(name: str) -> None:
    described = setting(1, name)
    report = judged(f"ring:{min(16, described.cluster.gpus)}", cluster=name)
    assert report.bottleneck is None or report.bottleneck.busy_s > 0
    assert report.gradient_s > 0


def test_a_cluster_with_too_few_devices_is_refused_with_both_numbers() -> None:
    with pytest.raises(UsageError, match=r"has 4 GPUs, and 8 learners .* servers = 8"):
        setting(8, "desktops-4x1g")


def test_an_unknown_cluster_is_answered_with_the_names() -> None:
    with pytest.raises(UsageError, match="Did you mean 'desktops-4x1g'"):
        setting(8, "desktop-4x1g")


def test_a_report_says_what_of_its_cluster_was_fitted() -> None:
    (fitted,) = judged("ring:4", cluster="x-8x8-v100").cluster_fitted
    assert fitted.startswith("host_memory_bytes_per_s = 1.33e+10 (calibrations/papers-fitted.toml")
    assert judged("ring:4").cluster_fitted == ()
