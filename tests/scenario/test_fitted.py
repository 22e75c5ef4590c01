"""Marks on fitted values: where they come from, and what takes them off."""

from __future__ import annotations

from pathlib import Path

import pytest

from dualrt import api
from dualrt.core.errors import ScenarioError
from dualrt.scenario import Scenario, load
from tests.support.calibrations import LEARNERS

CLUSTER = """
servers = 2
gpus_per_server = 1
nic_bytes_per_s = 1e9
host_memory_bytes_per_s = 1e10
socket_bytes_per_s = 5e8

[device]
flops_per_s = 1e12
memory_bytes_per_s = 1e11

[fitted.socket_bytes_per_s]
calibration = "mine"
points = ["one", "other"]

[fitted."device.flops_per_s"]
calibration = "mine"
points = ["one"]
"""

BOTH = {"socket_bytes_per_s", "device.flops_per_s"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "mine.toml").write_text(CLUSTER)
    (tmp_path / "run.toml").write_text(f'{LEARNERS}[cluster]\nfile = "mine.toml"\n')
    return tmp_path / "run.toml"


def marked(scenario: Scenario) -> set[str]:
    return set(scenario.cluster.fitted or {})


def test_a_clusters_marks_stay_with_its_values(file: Path) -> None:
    assert marked(load(file)) == BOTH
    assert marked(load(file, ["cluster.nic_bytes_per_s=2e9"])) == BOTH


@pytest.mark.parametrize(
    ("override", "left"),
    [
        ("cluster.socket_bytes_per_s=1e9", {"device.flops_per_s"}),
        ("cluster.device.flops_per_s=2e12", {"socket_bytes_per_s"}),
        ('cluster.device.name="P100"', {"socket_bytes_per_s"}),
        ("cluster.device={flops_per_s=1e12}", {"socket_bytes_per_s"}),
        ("cluster.file=desk", set()),
    ],
)
def test_another_value_takes_the_mark_off(file: Path, override: str, left: set[str]) -> None:
    assert marked(load(file, [override])) == left


def test_marks_survive_in_the_effective_options_until_a_value_is_set(file: Path) -> None:
    whole = file.with_name("whole.toml")
    whole.write_text(load(file).to_toml())
    assert marked(load(whole)) == BOTH
    assert marked(load(whole, ["cluster.socket_bytes_per_s=1e9"])) == {"device.flops_per_s"}


def test_without_marks_the_effective_options_speak_of_none(file: Path) -> None:
    scenario = load(file, ["cluster.file=desk"])
    assert "fitted" not in scenario.to_toml()


@pytest.mark.parametrize("key", ["socket_byte_per_s", "title", "device"])
def test_a_mark_on_what_is_no_number_is_an_error(file: Path, key: str) -> None:
    cluster = file.with_name("mine.toml")
    cluster.write_text(f'title = "t"\n{CLUSTER}[fitted.{key}]\ncalibration = "c"\npoints = ["p"]\n')
    with pytest.raises(ScenarioError, match=f"mine.toml.*marks '{key}' as fitted"):
        load(file)


def test_a_run_says_which_of_its_values_were_fitted(file: Path) -> None:
    summary = api.simulate(load(file)).summary
    assert [(one.key, one.value, one.calibration, one.points) for one in summary.fitted] == [
        ("cluster.socket_bytes_per_s", 5e8, "mine", ("one", "other")),
        ("cluster.device.flops_per_s", 1e12, "mine", ("one",)),
    ]


def test_servers_as_needed_follow_the_learners(file: Path) -> None:
    for learners in (1, 2, 5):
        fields = load(
            file,
            ["cluster.servers_as_needed=true", "cluster.gpus_per_server=2", f"learners={learners}"],
        ).cluster_fields()
        assert (fields["servers"], fields["gpus_per_server"]) == (-(-learners // 2), 2)


def test_servers_as_needed_must_know_how_many_devices_one_has(file: Path) -> None:
    file.with_name("mine.toml").write_text(CLUSTER.replace("gpus_per_server = 1\n", ""))
    with pytest.raises(ScenarioError, match="no gpus_per_server"):
        load(file, ["cluster.servers_as_needed=true"])
