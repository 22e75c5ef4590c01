"""Loading: files, overrides and the seed become one checked scenario."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from dualrt.core.errors import ScenarioError
from dualrt.core.progress import Constant, WarmupAnneal
from dualrt.scenario import load
from dualrt.scenario.keys import lookup

MINIMAL = """
title = "A test"
learners = 4
[algorithm]
name = "h-adpsgd"
learners_per_group = 2
[workload]
name = "digits"
batch = 16
hidden = [50, 50]
[training]
epochs = 3
schedule = { kind = "constant", rate = 0.1 }
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "run.toml"
    path.write_text(MINIMAL)
    return path


def test_a_minimal_scenario_has_defaults_for_everything_else(file: Path) -> None:
    scenario = load(file)
    assert scenario.seed == 1
    assert (scenario.topology.graph, scenario.topology.mixing) == ("ring", "pairwise")
    assert scenario.simulation.numerics
    assert scenario.simulation.epochs is None
    assert scenario.faults.stragglers == ()
    assert scenario.real.device == "auto"
    assert not scenario.training.audit


def test_keys_that_are_not_ours_are_the_settings_of_algorithm_and_workload(file: Path) -> None:
    scenario = load(file)
    assert scenario.algorithm.settings == {"learners_per_group": 2}
    assert scenario.workload.settings == {"hidden": [50, 50]}


def test_settings_may_be_called_like_our_attributes(file: Path) -> None:
    scenario = load(file, ["algorithm.settings=3", "algorithm.model_config.x=4"])
    assert scenario.algorithm.settings["settings"] == 3
    assert scenario.algorithm.settings["model_config"] == {"x": 4}


def test_without_a_cluster_the_desk_has_a_device_for_each_learner(file: Path) -> None:
    fields = load(file, ["learners=7"]).cluster_fields()
    assert (fields["servers"], fields["gpus_per_server"]) == (1, 7)


def test_devices_are_rounded_up_where_the_servers_do_not_divide_the_learners(file: Path) -> None:
    scenario = load(file, ["cluster.file=desk", "cluster.servers=2", "learners=7"])
    assert scenario.cluster_fields()["gpus_per_server"] == 4


@pytest.mark.parametrize(
    ("learners", "per_server", "alike"), [(8, 4, 4), (3, 4, 3), (4, 4, 4), (6, 4, None), (9, 1, 1)]
)
def test_learners_fill_one_server_after_another(
    file: Path, learners: int, per_server: int, alike: int | None
) -> None:
    sizes = [
        f"learners={learners}",
        "cluster.file=desk.toml",
        "cluster.servers=9",
        f"cluster.gpus_per_server={per_server}",
    ]
    assert load(file, sizes).learners_per_server() == alike


def test_a_constant_schedule_builds(file: Path) -> None:
    assert load(file).training.schedule.build() == Constant(0.1)


def test_a_warmup_schedule_builds_with_the_papers_defaults(file: Path) -> None:
    scenario = load(file, ["training.schedule={kind='warmup-anneal', base=0.1, peak=1.0}"])
    assert scenario.training.schedule.build() == WarmupAnneal(0.1, 1.0, 10, 1 / math.sqrt(2))


def test_an_inline_key_is_laid_over_the_cluster_file(file: Path) -> None:
    scenario = load(file, ["cluster.file=x-8x8-v100.toml", "cluster.nic_bytes_per_s=1.25e9"])
    assert scenario.cluster.nic_bytes_per_s == 1.25e9
    assert scenario.cluster.servers == 8


def test_a_measured_time_is_laid_over_the_devices_own_description(file: Path) -> None:
    options = ["cluster.file=desk", "cluster.device.profiles.gradient=[[16, 0.002]]"]
    device = load(file, options).cluster.device_fields()
    assert device["profiles"] == {"gradient": ((16, 0.002),)}
    assert "flops_per_s" in device


def test_a_cluster_file_of_an_option_brings_its_own_device(file: Path) -> None:
    with file.open("a") as more:
        more.write('\n[cluster]\nfile = "desk"\n')
        more.write("[cluster.device.profiles]\ngradient = [[16, 0.002]]\n")
    assert load(file).cluster.device.profiles == {"gradient": ((16, 0.002),)}
    other = load(file, ["cluster.device.step_cv=0.5", "cluster.file=p100-16x4"])
    assert (other.cluster.device.name, other.cluster.device.profiles) == ("P100", None)
    assert other.cluster.device.step_cv == 0.5


def test_naming_another_device_replaces_all_that_the_file_says_of_its_own(file: Path) -> None:
    scenario = load(file, ["cluster.file=desk", "cluster.device.name=P100"])
    assert scenario.cluster.device_fields() == {"name": "P100"}


def test_a_cluster_file_is_looked_for_beside_the_scenario_first(file: Path) -> None:
    own = 'servers=3\nnic_bytes_per_s=1e9\nhost_memory_bytes_per_s=1e10\ndevice={name="P100"}\n'
    (file.parent / "desk.toml").write_text(own)
    file.write_text(f'{MINIMAL}\n[cluster]\nfile = "desk.toml"')
    assert load(file).cluster.servers == 3


def test_a_cluster_file_of_an_option_is_looked_for_where_the_shell_is(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    own = 'servers=3\nnic_bytes_per_s=1e9\nhost_memory_bytes_per_s=1e10\ndevice={name="P100"}\n'
    (elsewhere / "mine.toml").write_text(own)
    monkeypatch.chdir(elsewhere)
    assert load(file, ["cluster.file=mine.toml"]).cluster.servers == 3


def test_a_cluster_needs_no_file_if_it_is_complete(file: Path) -> None:
    inline = "{servers=2, nic_bytes_per_s=1e9, host_memory_bytes_per_s=1e10, device={name='P100'}}"
    assert load(file, [f"cluster={inline}"]).cluster_fields()["servers"] == 2


def test_a_scenario_says_how_collectives_are_done(file: Path) -> None:
    chosen = "cluster.collectives.granularity=buckets"
    options = ["cluster.file=desk", chosen, "cluster.collectives.bucket_bytes=1000"]
    said = load(file, options).cluster.collectives.fields()
    assert said == {
        "algorithm": "auto",
        "granularity": "buckets",
        "bucket_bytes": 1000,
        "buffers": "device",
        "form": "flow",
    }


def test_a_bucket_has_a_size_only_where_there_are_buckets(file: Path) -> None:
    with pytest.raises(ScenarioError, match="granularity is not 'buckets'"):
        load(file, ["cluster.file=desk", "cluster.collectives.bucket_bytes=1000"])


def test_a_slow_period_ends_never_unless_told(file: Path) -> None:
    scenario = load(file, ["faults.stragglers=[{learner=1, factor=10}]"])
    (straggler,) = scenario.faults.stragglers
    assert (straggler.start_s, straggler.end_s) == (0.0, math.inf)


@pytest.mark.parametrize(
    ("option", "key", "value"),
    [
        ("learners=8", "learners", 8),
        (" learners = 8 ", "learners", 8),
        ("training.epochs=0.5", "training.epochs", 0.5),
        ("algorithm.name=sd-psgd", "algorithm.name", "sd-psgd"),
        ("algorithm.name='sd-psgd'", "algorithm.name", "sd-psgd"),
        ("topology.graph=torus:4x4", "topology.graph", "torus:4x4"),
        ("training.audit=true", "training.audit", True),
        ("title=a = b", "title", "a = b"),
        ("title=two\nlearners=9", "title", "two\nlearners=9"),
        ("workload.hidden.1=7", "workload.hidden", [50, 7]),
        ("workload.hidden=[1, 2, 3]", "workload.hidden", [1, 2, 3]),
    ],
)
def test_an_option_sets_one_key(file: Path, option: str, key: str, value: object) -> None:
    assert lookup(load(file).effective(), key) != value
    assert lookup(load(file, [option]).effective(), key) == value


def test_the_last_option_wins(file: Path) -> None:
    assert load(file, ["learners=5", "learners=6"]).learners == 6


def test_the_seed_of_the_command_line_wins(file: Path) -> None:
    assert load(file, ["seed=5"], seed=6).seed == 6


def test_given_keys_are_those_of_file_and_options(file: Path) -> None:
    given = load(file, ["real.timeout_s=5"], seed=2).given_keys()
    assert given == (
        "title",
        "learners",
        "algorithm.name",
        "algorithm.learners_per_group",
        "workload.name",
        "workload.batch",
        "workload.hidden",
        "training.epochs",
        "training.schedule.kind",
        "training.schedule.rate",
        "real.timeout_s",
        "seed",
    )


def test_what_was_run_can_be_written_and_run_again(file: Path, tmp_path: Path) -> None:
    options = ["faults.stragglers=[{learner=1, factor=10}]", "cluster.file=x-8x8-v100"]
    scenario = load(file, options, seed=7)
    kept = tmp_path / "elsewhere" / "kept.toml"
    kept.parent.mkdir()
    kept.write_text(scenario.to_toml())
    assert load(kept).effective() == scenario.effective()


def test_the_folder_is_where_relative_paths_start(file: Path, tmp_path: Path) -> None:
    scenario = load(str(file))
    assert (scenario.folder, scenario.source) == (tmp_path, str(file))
