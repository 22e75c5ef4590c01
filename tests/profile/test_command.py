"""`dualrt profile`: as a shell would run it, and what it makes of its options."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dualrt.api import simulate
from dualrt.cli import profile as profiling
from dualrt.cli.profile import Request, profile
from dualrt.core.errors import RunError, UsageError
from dualrt.profile.crew import Crew
from dualrt.profile.measure import Plan, Report
from dualrt.scenario import load, load_cluster
from tests.profile.reports import REPORT
from tests.support.commands import has_processes, interrupted, result


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The file that one run of the command wrote, and the object that it printed."""
    file = tmp_path_factory.mktemp("profile") / "here.toml"
    options = ("--seconds", "0.02", "--learners", "2", "--batches", "2,4", "--record")
    return file, result("profile", "quadratic", *options, "--out", file)


def test_every_figure_is_there_and_positive(measured: tuple[Path, dict[str, Any]]) -> None:
    file, figures = measured
    assert figures["file"] == str(file)
    assert [point["batch"] for point in figures["gradients"]] == [2, 4]
    for point in figures["gradients"]:
        assert min(point["mean_s"], point["alone_s"]) > 0
    for name in ("blend", "copy", "gossip"):
        assert min(figures[name].values()) > 0
    assert min(figures[name] for name in ("update_s", "launch_s", "message_s", "flops")) > 0
    # Of so few steps what is beside the gradients is lost in the noise, and may come to nothing.
    assert min(figures["software"].values()) >= 0
    assert (figures["learners"], figures["device"], figures["pcie"]) == (2, "cpu", None)


def test_what_was_written_can_be_simulated(measured: tuple[Path, dict[str, Any]]) -> None:
    file, _ = measured
    assert [batch for batch, _ in (load_cluster(file).device.profiles or {})["gradient"]] == [2, 4]
    options = (
        f"cluster.file={file}",
        "learners=2",
        "simulation.numerics=false",
        "training.epochs=1",
    )
    assert simulate(load("digits-adpsgd", options)).summary.elapsed_s > 0


def test_an_interrupt_leaves_no_process() -> None:
    words = ("profile", "quadratic", "--seconds", "1000", "--learners", "2")
    assert interrupted(*words, once=has_processes(3)).returncode == 130


def test_a_process_that_dies_is_told_of() -> None:
    with Crew(2) as crew, pytest.raises(RunError, match="process 1 ended with exit code 1") as told:
        # There is no bench yet that could do anything.
        crew.ask({"do": "gradient"}, [1])
    assert "AttributeError" in str(told.value)


def test_what_a_process_refuses_is_raised_here() -> None:
    order: dict[str, Any] = {
        "do": "begin",
        "file": "quadratic",
        "overrides": [],
        "seed": None,
        "rank": 0,
        "processes": 1,
        "device": "cpu",
    }
    with Crew(1) as crew:
        crew.ask(order)
        with pytest.raises(UsageError, match="there is no such scenario"):
            crew.ask({"do": "load", "batch": 4})


Measured = Callable[..., Plan]


@pytest.fixture
def planned(monkeypatch: pytest.MonkeyPatch) -> Measured:
    """Runs the command without measuring; returns what would have been measured."""

    def run(what: str, **options: Any) -> Plan:
        plans = []

        def measure(plan: Plan, _: object) -> Report:
            plans.append(plan)
            return REPORT

        monkeypatch.setattr(profiling, "measure", measure)
        given: dict[str, Any] = {
            "device": None,
            "learners": None,
            "batches": None,
            "seconds": 1.0,
            "record": False,
            "overrides": (),
            "seed": None,
            "json": False,
            "out": None,
        }
        profile(Request(what=what, **{**given, **options}))
        (plan,) = plans
        return plan

    return run


def test_a_scenario_is_measured_at_its_own_batch_and_below(planned: Measured) -> None:
    plan = planned("digits-adpsgd", learners=3)
    assert (plan.batch, plan.batches, plan.learners) == (16, (4, 8, 16), 3)
    assert plan.device == "auto"


def test_no_more_processes_than_two_a_core_start_unasked(planned: Measured) -> None:
    assert planned("digits-adpsgd", overrides=("learners=1000",)).learners < 1000
    assert planned("digits-adpsgd", overrides=("learners=1",)).learners == 1


def test_a_workload_needs_no_scenario(planned: Measured) -> None:
    plan = planned("digits", batches="64,8", overrides=("workload.hidden=[9]",))
    assert (plan.workload, plan.batches, plan.batch) == ("digits", (8, 64), profiling.BATCH)


def test_without_a_file_the_description_is_printed(
    planned: Measured, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    planned("digits")
    file = tmp_path / "here.toml"
    file.write_text(capsys.readouterr().out)
    assert load_cluster(file).socket_bytes_per_s == REPORT.gossip.alone_bytes_per_s


def test_with_a_file_the_figures_are_printed(
    planned: Measured, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "here.toml"
    planned("digits", out=file)
    assert load_cluster(file).servers == 1
    assert "no GPU, not measured" in capsys.readouterr().out


def test_as_json_the_figures_are_one_object(
    planned: Measured, capsys: pytest.CaptureFixture[str]
) -> None:
    planned("digits", json=True)
    figures = json.loads(capsys.readouterr().out)
    assert (figures["file"], figures["message_s"]) == (None, REPORT.message_s)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"what": "digit"}, "Did you mean 'digits'?"),
        ({"device": "tpu"}, "There are cpu and cuda"),
        ({"batches": "4,none"}, "like 16,32,64"),
        ({"batches": "0"}, "like 16,32,64"),
        ({"out": Path(__file__)}, "is there already"),
        ({"out": Path("/nowhere/here.toml")}, "there is no folder /nowhere"),
    ],
    ids=str,
)
def test_what_cannot_be_measured_is_said_in_words(
    planned: Measured, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError) as refused:
        planned(**{"what": "digits", **options})
    assert said in str(refused.value)
