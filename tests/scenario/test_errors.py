"""Every mistake is one error that names the file, the key, the value and the remedy."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dualrt.core.errors import ScenarioError, UsageError
from dualrt.scenario import Scenario, load, load_cluster

GOOD = """
title = "A test"
learners = 4
[algorithm]
name = "adpsgd"
[workload]
name = "digits"
batch = 16
[training]
epochs = 3
[training.schedule]
kind = "constant"
rate = 0.1
[faults]
stragglers = [{ learner = 1, factor = 2 }]
[cluster]
file = "desk.toml"
"""


def refused(file: Path, text: str, *options: str, seed: int | None = None) -> ScenarioError:
    """The error for a scenario file with this text."""
    file.write_text(text)
    with pytest.raises(ScenarioError) as caught:
        load(file, options, seed)
    assert str(file) in str(caught.value)
    return caught.value


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "run.toml"


class Mistake(NamedTuple):
    """One wrong option, and what its error must say."""

    option: str
    key: str
    value: object
    problem: str
    remedy: str


MISTAKES = [
    Mistake("learners=0", "learners", 0, "greater than or equal to 1", "Number of learners"),
    Mistake("learners=65537", "learners", 65537, "less than or equal to 65536", "at most 65,536"),
    Mistake("learners=4.0", "learners", 4.0, "valid integer", "Number of learners"),
    Mistake("learners=true", "learners", True, "valid integer", "Number of learners"),
    Mistake("learners='4'", "learners", "4", "valid integer", "Number of learners"),
    Mistake("seed=-1", "seed", -1, "greater than or equal to 0", "randomness"),
    Mistake("learner=4", "learner", 4, "not a known key", "'learners'"),
    Mistake("zebra=4", "zebra", 4, "not a known key", "allowed here are: title, about"),
    Mistake("training.epoch=4", "training.epoch", 4, "not a known key", "'epochs'"),
    Mistake(
        "training.epochs=inf", "training.epochs", float("inf"), "finite", "Passes over the pool"
    ),
    Mistake(
        "training.optimizer.nesterov=true",
        "training.optimizer.nesterov",
        True,
        "set momentum above 0",
        "Look ahead",
    ),
    Mistake("training.audit=yes", "training.audit", "yes", "valid boolean", "conserves"),
    Mistake("training=3", "training", 3, "should be a table", "How long"),
    Mistake("training.schedule=3", "training.schedule", 3, "should be a table", "Learning rate"),
    Mistake("training.schedule.rate=-1", "training.schedule.rate", -1, "greater than 0", "rate"),
    Mistake("training.schedule.rte=1", "training.schedule.rte", 1, "not a known key", "'rate'"),
    Mistake(
        "training.schedule.constant=1", "training.schedule.constant", 1, "not a known", "kind, rate"
    ),
    Mistake(
        "training.schedule.kind=warmup", "training.schedule.kind", "warmup", "kind", "warmup-anneal"
    ),
    Mistake("training.optimizer.kind=adam", "training.optimizer.kind", "adam", "'sgd'", "gradient"),
    Mistake(
        "training.optimizer.momentum=1", "training.optimizer.momentum", 1, "less than 1", "sum"
    ),
    Mistake("simulation.epochs=0", "simulation.epochs", 0, "greater than 0", "extrapolate"),
    Mistake("real.device=cude", "real.device", "cude", "'cpu'", "'cuda'"),
    Mistake("real.ports=20000", "real.ports", 20000, "valid string", "FIRST-LAST"),
    Mistake("real.ports=20000-", "real.ports", "20000-", "two ports", "20000-20100"),
    Mistake("real.ports=20100-20000", "real.ports", "20100-20000", "lower one first", "FIRST-LAST"),
    Mistake("real.ports=1-65536", "real.ports", "1-65536", "1 to 65535", "FIRST-LAST"),
    Mistake("workload.name=", "workload.name", "", "at least 1 character", "digits"),
    Mistake("faults.stragglers=3", "faults.stragglers", 3, "should be a list", "Slow learners"),
    Mistake(
        "faults.stragglers.0.factor=0.5", "faults.stragglers.0.factor", 0.5, "equal to 1", "slower"
    ),
    Mistake(
        "faults.stragglers.0.learner=4", "faults.stragglers.0.learner", 4, "no such", "up to 3"
    ),
    Mistake("cluster=3", "cluster", 3, "should be a table", "simulates"),
    Mistake("cluster={}", "cluster", {}, "lacks servers, nic", 'file = "desk.toml"'),
    Mistake("cluster.file=3", "cluster.file", 3, "valid string", "topologies/"),
    Mistake("cluster.file=deks", "cluster.file", "deks", "neither the file", "'desk'"),
    Mistake("cluster.servers=0", "cluster.servers", 0, "equal to 1", "Number of servers"),
    Mistake(
        "cluster.oversubscription=3", "cluster.oversubscription", 3, "set servers_per_rack", "3:1"
    ),
    Mistake(
        "cluster={file='leaf-spine-10g',rack_bytes_per_s=1e9}",
        "cluster.oversubscription",
        3.0,
        "rack_bytes_per_s is given as well",
        "3:1",
    ),
    Mistake("cluster.nick=1", "cluster.nick", 1, "not a known key", "keys allowed here"),
    Mistake(
        "cluster.device.flops=1", "cluster.device.flops", 1, "not a known key", "'flops_per_s'"
    ),
    Mistake(
        "cluster.device.slow_periods={factor = 2, mean_s = 1, mean_between_s = 0}",
        "cluster.device.slow_periods.mean_between_s",
        0,
        "greater than 0",
        "between two",
    ),
    Mistake(
        "cluster.device.step_factors.gradient=[]",
        "cluster.device.step_factors.gradient",
        [],
        "at least 1",
        "real run",
    ),
    Mistake(
        "cluster.device.profiles.gradient=[[16, -1]]",
        "cluster.device.profiles.gradient.0.1",
        -1,
        "greater than 0",
        "[samples, seconds]",
    ),
    Mistake(
        "cluster.device.profiles.gradient=[[16, 1], [16, 2]]",
        "cluster.device.profiles.gradient",
        [[16, 1], [16, 2]],
        "not in ascending order",
        "[samples, seconds]",
    ),
    *(
        # Of what a machine can be, a record can hold, or a run can be made of.
        Mistake(f"{key}={value!r}", key, value, f"less than or equal to {most}", meaning)
        for key, value, most, meaning in (
            ("seed", 2**63, 2**63 - 1, "All randomness"),
            ("workload.batch", 2**63, 2**40, "mini-batch"),
            ("workload.batch", 2**40 + 1, 2**40, "mini-batch"),
            ("real.threads_per_learner", 2**63, 4096, "CPU threads"),
            ("cluster.servers", 2**63, 65536, "Number of servers"),
            ("cluster.gpus_per_server", 2**63, 65536, "Devices in a server"),
            ("cluster.sockets_per_server", 2**63, 32, "Processor sockets"),
            ("cluster.device.launch_s", 1e308, "1e+30", "Time that"),
            ("cluster.device.step_cv", 1e160, 10, "Spread between steps"),
            ("cluster.device.device_sigma", 1e160, 10, "Spread between devices"),
            ("faults.stragglers.0.factor", 1e308, "1e+30", "slower"),
        )
    ),
]


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.option)
def test_a_mistake_is_named_with_its_remedy(file: Path, mistake: Mistake) -> None:
    error = refused(file, GOOD, mistake.option)
    assert (error.key, error.value) == (mistake.key, mistake.value)
    assert type(error.value) is type(mistake.value)
    assert mistake.problem in error.problem
    assert mistake.remedy in error.remedy
    assert error.remedy.endswith((".", "?"))


@pytest.mark.parametrize("option", [mistake.option for mistake in MISTAKES])
def test_the_source_of_an_options_mistake_is_the_option(file: Path, option: str) -> None:
    assert refused(file, GOOD, option).source == f"{file} with --set {option}"


def test_the_source_of_a_files_mistake_is_the_file(file: Path) -> None:
    error = refused(file, GOOD.replace("learners = 4", "learners = 0"), "seed=2")
    assert error.source == str(file)


def test_the_source_of_a_wrong_seed_is_its_own_option(file: Path) -> None:
    assert refused(file, GOOD, seed=-1).source == f"{file} with --seed -1"


def test_a_missing_key_is_named_with_what_it_means(file: Path) -> None:
    error = refused(file, GOOD.replace("epochs = 3", ""))
    assert (error.key, repr(error.value)) == ("training.epochs", "(not given)")
    assert error.remedy.startswith("Add it: Passes over the pool")


def test_a_schedule_without_a_kind_lists_the_kinds(file: Path) -> None:
    error = refused(file, GOOD.replace('kind = "constant"', ""))
    assert error.key == "training.schedule.kind"
    assert error.remedy == "The kinds are: constant, warmup-anneal."


def test_a_misspelt_key_comes_before_the_key_that_it_leaves_missing(file: Path) -> None:
    error = refused(file, GOOD.replace("learners = 4", "lerners = 4"))
    assert error.key == "lerners"
    assert error.remedy == "Did you mean 'learners'? Also wrong: `learners` is required."


def test_further_mistakes_are_listed_in_brief(file: Path) -> None:
    names = ["aa", "bb", "cc", "dd", "ee", "ff"]
    error = refused(file, GOOD, *(f"{name}=1" for name in names))
    assert error.key == "aa"
    assert "Also wrong: `bb` is not a known key; " in error.remedy
    assert error.remedy.endswith("`ee` is not a known key; and 1 more.")


def test_a_list_with_one_wrong_item_is_not_called_empty(file: Path) -> None:
    error = refused(file, GOOD, "cluster.device.profiles.gradient=[[16]]")
    assert error.key == "cluster.device.profiles.gradient.0.1"
    assert "Also wrong" not in error.remedy


def test_a_device_without_a_name_needs_its_rates(file: Path) -> None:
    inline = "{servers=2, nic_bytes_per_s=1e9, host_memory_bytes_per_s=1e10, device={launch_s=1}}"
    error = refused(file, GOOD, f"cluster={inline}")
    assert (error.key, error.value) == ("cluster.device", {"launch_s": 1})
    assert "flops_per_s and memory_bytes_per_s" in error.problem


def test_a_slow_period_must_end_after_it_starts(file: Path) -> None:
    error = refused(file, GOOD, "faults.stragglers.0={learner=1, factor=2, start_s=5, end_s=5}")
    assert (error.key, error.value) == ("faults.stragglers.0.end_s", 5.0)


def test_a_mistake_in_a_cluster_file_names_that_file(file: Path) -> None:
    own = file.parent / "mine.toml"
    own.write_text("servers = 0")
    file.write_text(GOOD.replace("desk.toml", "mine.toml"))
    with pytest.raises(ScenarioError) as caught:
        load(file)
    assert (caught.value.source, caught.value.key) == (str(own), "servers")


def test_a_cluster_file_cannot_name_another(file: Path) -> None:
    file.write_text('file = "desk.toml"')
    with pytest.raises(ScenarioError) as caught:
        load_cluster(file)
    assert caught.value.key == "file"


@pytest.mark.parametrize(
    ("text", "place", "line"),
    [
        ("title = 1\nlearners 4\n", "2:10", "learners 4"),
        ('title = "open', "1:14", 'title = "open'),
        ("a = [1,\n", "1:8", "a = [1,"),
    ],
)
def test_a_syntax_error_names_line_and_column(file: Path, text: str, place: str, line: str) -> None:
    error = refused(file, text)
    assert error.source == f"{file}:{place}"
    assert error.remedy == f"The line reads: {line}"


def test_an_empty_file_lacks_all_that_is_required(file: Path) -> None:
    error = refused(file, "")
    assert (error.key, error.problem) == ("title", "is required")
    assert "`learners` is required" in error.remedy


def test_a_missing_file_says_where_it_looked_and_what_is_shipped(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError) as caught:
        load(tmp_path / "digits-adpgd.toml")
    assert str(tmp_path / "digits-adpgd.toml") in str(caught.value)
    assert "Shipped are: digits-adpsgd, " in str(caught.value)


@pytest.mark.parametrize("name", ["", ".", "a\0b", "x" * 5000, "sims", "sims/", "../sims/x"])
def test_a_name_that_is_no_file_is_refused(name: str) -> None:
    with pytest.raises(ScenarioError, match="no such scenario"):
        load(name)


def test_a_misspelt_name_is_guessed() -> None:
    with pytest.raises(ScenarioError, match="Did you mean 'digits-adpsgd'"):
        load("digits-adpgsd")


def test_bytes_that_are_no_text_are_refused(file: Path) -> None:
    file.write_bytes(b"title = '\xff'")
    with pytest.raises(ScenarioError, match="not UTF-8 text, at byte 9"):
        load(file)


@pytest.mark.parametrize(
    ("option", "problem"),
    [
        ("learners", "does not have the form key=value"),
        ("=3", "names no key"),
        ("a..b=3", "names no key"),
        ("title.x=3", "`title` is 'A test', which has no keys"),
        ("faults.stragglers.1.factor=3", "`1` is not the position of an item"),
        ("faults.stragglers.x=3", "`x` is not the position of an item"),
        ("faults.stragglers=[1", "the value is not TOML"),
        ("title='open", "the value is not TOML"),
    ],
)
def test_an_option_that_cannot_be_applied_is_refused(file: Path, option: str, problem: str) -> None:
    error = refused(file, GOOD, option)
    assert error.source == f"{file} with --set {option}"
    assert problem in error.problem


def test_later_checks_find_value_and_source_by_key(file: Path) -> None:
    file.write_text(GOOD)
    scenario = load(file, ["algorithm.groups=[3, 4]"])
    error = scenario.error("algorithm.groups.1", "does not fit", "Choose another.")
    assert (error.source, error.value) == (f"{file} with --set algorithm.groups=[3, 4]", 4)
    absent = scenario.error("algorithm.period", "is needed", "Give one.")
    assert str(absent) == f"{file}: algorithm.period = (not given): is needed. Give one."


TABLES = ["name", "kind", "rate", "file", "device", "profiles", "gradient", "stragglers", "0", "x"]
PARTS = st.one_of(st.sampled_from([*Scenario.model_fields, *TABLES]), st.text(max_size=5))
VALUES = st.one_of(
    st.text(max_size=12),
    st.sampled_from(["{}", "[]", "[[1, 2]]", "nan", "-inf", "true", "{x=1}", "9" * 400, "\0"]),
    st.integers().map(str),
    st.floats().map(str),
    st.datetimes().map(str),
)
OPTIONS = st.builds(
    lambda parts, value: f"{'.'.join(parts)}={value}", st.lists(PARTS, min_size=1), VALUES
)


def outcome(file: Path, options: list[str]) -> Scenario | UsageError:
    try:
        return load(file, options)
    except UsageError as error:
        return error


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
@given(st.lists(st.one_of(OPTIONS, st.text(max_size=8)), max_size=3))
def test_any_options_give_a_scenario_or_a_usage_error(file: Path, options: list[str]) -> None:
    file.write_text(GOOD)
    scenario = outcome(file, options)
    if isinstance(scenario, UsageError):
        assert str(file) in str(scenario)
    else:
        kept = file.with_name("kept.toml")
        kept.write_text(scenario.to_toml())
        # By text, because a setting may be nan, which equals nothing.
        assert load(kept).to_toml() == scenario.to_toml()
