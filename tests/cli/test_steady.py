"""`simulate --steady`: it stops early, says so, and comes to what the whole run comes to."""

from __future__ import annotations

import pytest

from dualrt import api
from dualrt.observe.summary import Steady, Summary
from dualrt.scenario import load
from tests.support import commands

FILE = "swb2000-adpsgd-16"

JITTER = ("learners=4", "cluster.device.step_cv=0.04", "cluster.device.device_sigma=0.01")

LONG = "simulation.epochs=0.1"
"""4,980 rounds of 4 learners."""


def summary(*overrides: str) -> Summary:
    return api.simulate(load(FILE, [*JITTER, LONG, *overrides])).summary


@pytest.mark.parametrize(
    "algorithm",
    [
        "{name='adpsgd'}",
        "{name='ssgd'}",
        "{name='asgd'}",
        # A batch is eight rounds: another period takes longer to even out than this run lasts.
        "{name='local-sgd', period=4}",
        "{name='h-adpsgd', learners_per_group=2}",
    ],
)
def test_it_agrees_with_the_whole_run_within_its_interval(algorithm: str) -> None:
    whole = summary(f"algorithm={algorithm}")
    early = summary(f"algorithm={algorithm}", "simulation.steady_percent=0.5")
    assert isinstance(early.steady, Steady)
    assert early.steady.extrapolated
    assert early.steady.ci_percent is not None
    assert early.steady.ci_percent < 0.5
    assert early.steps <= whole.steps / 1.9
    for figure in ("hours_total", "hours_per_epoch", "speedup_over_one", "seconds_per_iteration"):
        found, wanted = getattr(early, figure), getattr(whole, figure)
        assert 100 * abs(found / wanted - 1) < early.steady.ci_percent, figure
    assert early.bytes_total == pytest.approx(whole.bytes_total, rel=0.01)


def test_a_permanent_straggler_is_steady() -> None:
    slow = summary("faults.stragglers=[{learner=3, factor=2}]", "simulation.steady_percent=1.0")
    assert slow.steady is not None
    assert slow.steady.extrapolated


def test_a_run_that_ends_before_it_is_steady_says_so() -> None:
    short = ("simulation.epochs=0.003", "simulation.steady_percent=0.5")
    found, whole = summary(*short), summary(short[0])
    assert found.steady == Steady(extrapolated=False, ci_percent=None)
    assert found.hours_total == whole.hours_total
    assert found.digest == whole.digest


def test_the_command_line_says_that_it_extrapolated_and_how_well() -> None:
    words = (FILE, *commands.settings(*JITTER))
    figures = commands.result_here("simulate", *words, "--steady")
    assert figures["extrapolated"] is True
    assert figures["steady"]["extrapolated"] is True
    assert 0 < figures["steady"]["ci_percent"] < 0.5
    assert figures["elapsed_s"] < 0.1 * 3600 * figures["hours_total"]
    told = commands.here("simulate", *words, "--steady-percent", "1")
    assert "(95 %), extrapolated" in told.stdout
    assert "projected" in told.stdout


def test_the_key_is_absent_where_it_was_not_asked_for() -> None:
    assert "steady" not in summary("simulation.epochs=0.001").to_json()


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("simulation.numerics=true", "trains no model to the end"),
        ("faults.stragglers=[{learner=1, factor=2, start_s=9}]", "begin or end"),
        ("faults.stragglers=[{learner=1, factor=2, end_s=9}]", "begin or end"),
    ],
)
def test_what_is_not_steady_is_refused(override: str, problem: str) -> None:
    done = commands.here("simulate", FILE, "--steady", "--set", override)
    assert done.returncode == 2
    assert problem in done.stderr
    assert "no --steady" in done.stderr
