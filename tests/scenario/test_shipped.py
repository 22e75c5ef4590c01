"""The shipped scenarios and cluster descriptions."""

from __future__ import annotations

from pathlib import Path

import pytest

from dualrt import api
from dualrt.scenario import load, load_cluster, shipped
from dualrt.sim.cluster import ClusterSpec

SIMS, TOPOLOGIES = shipped.names("sims"), shipped.names("topologies")


@pytest.mark.parametrize("name", SIMS)
def test_a_shipped_scenario_loads_and_says_what_it_should_show(name: str) -> None:
    scenario = load(name)
    assert scenario.title
    assert len(scenario.about.split()) > 10


@pytest.mark.parametrize("name", SIMS)
def test_a_shipped_scenarios_cluster_has_room_for_its_learners(name: str) -> None:
    scenario = load(name)
    assert ClusterSpec(**scenario.cluster_fields()).gpus >= scenario.learners


@pytest.mark.parametrize("name", TOPOLOGIES)
def test_a_shipped_cluster_names_its_source(name: str) -> None:
    cluster = load_cluster(shipped.folder("topologies") / f"{name}.toml")
    assert cluster.title
    known = ("arXiv:", "data sheet", "instance type", "article", "no publication")
    assert any(kind in cluster.source for kind in known)


@pytest.mark.parametrize("name", ["digits-adpsgd", "digits-adpsgd.toml", "sims/digits-adpsgd.toml"])
def test_a_shipped_scenario_is_found_by_each_of_its_names(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert load(name).algorithm.name == "adpsgd"


def test_a_file_goes_before_a_shipped_scenario_of_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = load("digits-adpsgd").to_toml().replace("learners = 4", "learners = 5", 1)
    (tmp_path / "digits-adpsgd").write_text(own)
    monkeypatch.chdir(tmp_path)
    assert load("digits-adpsgd").learners == 5


def test_an_installed_package_holds_its_own_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shipped" / "sims").mkdir(parents=True)
    (tmp_path / "shipped" / "sims" / "only.toml").write_text("")
    monkeypatch.setattr(shipped, "_PACKAGE", tmp_path)
    assert shipped.names("sims") == ("only",)
    assert shipped.find("sims", "sims/only.toml") == tmp_path / "shipped" / "sims" / "only.toml"


PAPERS = [name for name in SIMS if name.startswith("papers-")]

FIVE = ["ssgd", "sd-psgd", "adpsgd", "delay-by-one", "h-adpsgd"]


@pytest.mark.parametrize("algorithm", FIVE)
@pytest.mark.parametrize("name", PAPERS)
def test_a_papers_cluster_runs_any_algorithm_on_any_number_of_gpus(
    name: str, algorithm: str
) -> None:
    group = load(name).cluster.gpus_per_server
    settings = ["algorithm.learners_per_group=" + str(group)] if algorithm == "h-adpsgd" else []
    asked = [
        f"algorithm.name={algorithm}",
        f"learners={12 * (group or 0)}",
        "faults.stragglers=[{learner=1, factor=2}]",
        "cluster.switch_latency_s=1e-3",
        "simulation.epochs=0.002",
    ]
    scenario = load(name, [*asked, *settings])
    assert scenario.cluster_fields()["servers"] == 12
    summary = api.simulate(scenario).summary
    assert summary.steps > 0
    assert [one.key for one in summary.fitted] == ["cluster.host_memory_bytes_per_s"]


def test_the_large_runs_learning_rate_follows_the_papers_rule() -> None:
    scenario = load("swb2000-h-adpsgd-64")
    total = scenario.learners * scenario.workload.batch
    assert scenario.training.schedule.build()(9.0) == pytest.approx(0.1 * total / 256)
