"""What a table can say, and what in it cannot be."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dualrt.calibrate import fit, read_table
from dualrt.core.errors import ScenarioError
from tests.support.calibrations import BANDWIDTH, LAUNCH, table

WRONG = [
    ("measured = 0.02", "measured = -1", "points.0.measured = -1"),
    ("figure = ", "figures = ", "did you mean 'figure'"),
    ('"seconds_per_iteration"', '"hours"', "points.0.figure = 'hours'"),
    ("initial = 3000000000.0", "initial = 1.0", "parameters.0.initial = 1.0: is not between"),
    ("points = ['one', 'other']", "points = ['ane']", "'ane': is no point .* Did you mean 'one'"),
    ("points = ['one', 'other']", "points = ['guess']", "are predictions alone"),
    ('name = "other"', 'name = "one"', "points.name = 'one': is there twice"),
    ('name = "launch"', 'name = "bandwidth"', "parameters.1.name = 'bandwidth': is there twice"),
    ("cluster.collective_launch_s", "cluster.nic_bytes_per_s", "also what 'bandwidth' sets"),
    ("['seed=2']", "['cluster.nic_bytes_per_s=1e9']", "is fitted, and point 'one' sets it"),
]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    points = {"one": (0.02, ("seed=2",)), "other": (0.03, ())}
    made = table(tmp_path, points, BANDWIDTH, LAUNCH)
    guess = '[[predictions]]\nname = "guess"\nscenario = "run.toml"\nmeasured = 1.0\n'
    made.write_text(f'{made.read_text()}{guess}figure = "hours_total"\nsource = "nowhere"\n')
    return made


@pytest.mark.parametrize(("right", "wrong", "message"), WRONG, ids=[w for _, w, _ in WRONG])
def test_a_mistake_is_named_with_its_file(file: Path, right: str, wrong: str, message: str) -> None:
    text = file.read_text()
    assert right in text
    file.write_text(text.replace(right, wrong, 1))
    with pytest.raises(ScenarioError, match=re.compile(f"table.toml.*{message}", re.IGNORECASE)):
        read_table(file)


def test_an_unknown_name_is_told_what_is_shipped(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="Did you mean 'papers'"):
        read_table("paper")


def test_a_run_with_gradients_is_refused(file: Path) -> None:
    run = file.with_name("run.toml")
    run.write_text(run.read_text().replace("numerics = false", "numerics = true"))
    with pytest.raises(
        ScenarioError, match=r"run.toml.*simulation.numerics.*'one' of .*table.toml"
    ):
        fit(read_table(file))


def test_a_key_that_no_scenario_has_is_found_at_the_first_run(file: Path) -> None:
    file.write_text(file.read_text().replace("nic_bytes_per_s", "nic_byte_per_s"))
    named = r"table.toml: parameters.0.key = 'cluster.nic_byte_per_s'.*'one'.*Did you mean"
    with pytest.raises(ScenarioError, match=named):
        fit(read_table(file))


def test_a_key_that_takes_no_such_number_is_named_as_the_table_has_it(file: Path) -> None:
    file.write_text(file.read_text().replace("nic_bytes_per_s", "servers"))
    with pytest.raises(ScenarioError, match=r"table.toml: parameters.0.key.*valid integer"):
        fit(read_table(file))


def test_what_is_wrong_without_any_value_is_no_parameters_fault(file: Path) -> None:
    file.write_text(file.read_text().replace("['seed=2']", "['seeds=2']"))
    with pytest.raises(ScenarioError, match="Did you mean 'seed'") as raised:
        fit(read_table(file))
    assert "parameters" not in str(raised.value)
