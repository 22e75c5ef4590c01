"""Faults in code: `dualrt.api.simulate(scenario, faults=[...])`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, cast

import numpy
import pytest

from dualrt import api, faults
from dualrt.core.errors import RunError, ScenarioError, UsageError
from dualrt.observe.summary import Summary
from dualrt.scenario import load
from tests.support.simulated import Log

SMALL = "swarm-small"


def test_a_learner_fails_at_a_step() -> None:
    log = Log()
    outcome = api.simulate(load(SMALL), faults=[faults.fail_at(3, step=10)], observer=log)
    assert log.steps(3) == 10
    assert outcome.toll is not None
    assert [rank for rank, _ in outcome.toll.crashed] == [3]
    figures = outcome.summary.faults
    assert figures is not None
    assert (figures.crashes, figures.returns, figures.down_at_the_end) == (1, 0, (3,))


def test_it_may_come_back() -> None:
    again = faults.fail_at(3, step=10, rejoin_after_s=0.01)
    figures = api.simulate(load(SMALL), faults=[again]).summary.faults
    assert figures is not None
    assert (figures.crashes, figures.returns, figures.down_at_the_end) == (1, 1, ())


def test_learners_are_cut_off_for_a_time() -> None:
    outcome = api.simulate(
        load(SMALL, ["faults.detect_s=0.001"]),
        faults=[faults.cut_off(0, 1, start_s=0.01, end_s=0.03)],
    )
    assert outcome.toll is not None
    assert any({wait.learner, wait.peer} & {0, 1} for wait in outcome.toll.given_up)
    assert all(wait.ended_s >= 0.01 for wait in outcome.toll.given_up)


def test_they_come_on_top_of_the_scenarios_own() -> None:
    scenario = load(SMALL, ["faults.crashes=[{learner=0, at_step=5}]"])
    figures = api.simulate(scenario, faults=[faults.fail_at(3, step=10)]).summary.faults
    assert figures is not None
    assert figures.down_at_the_end == (0, 3)


def test_where_nothing_goes_wrong_nothing_is_said_of_it() -> None:
    outcome = api.simulate(load(SMALL))
    assert outcome.toll is None
    assert "faults" not in json.loads(outcome.summary.to_json())


def test_figures_survive_the_way_into_json_and_back() -> None:
    summary = api.simulate(load(SMALL), faults=[faults.fail_at(3, step=10)]).summary
    assert Summary.from_json(summary.to_json()) == summary


@pytest.mark.parametrize(
    "fault",
    [
        faults.fail_at(5, step=1),
        faults.SlowCard(3, 0.5, 0.0),
        faults.fail_at(-1, step=1),
        faults.cut_off(4, 5, start_s=0.0),
        faults.SlowPair(frozenset({0, 5}), 0.5, 0.0),
        faults.Weather(drop=0.5, pair=frozenset({0, 5})),
    ],
)
def test_what_befalls_nobody_is_refused(fault: faults.Fault) -> None:
    with pytest.raises(UsageError, match="Count them from 0"):
        api.simulate(load(SMALL), faults=[fault])


@pytest.mark.parametrize(
    "fault",
    [faults.SlowCard(0, 0.5, 0.02), faults.Weather(drop=0.1, end_s=9.0), faults.fail_at(1, step=2)],
)
def test_no_rate_is_steady_with_one_that_passes_by(fault: faults.Fault) -> None:
    steady = load("swb2000-adpsgd-16", ["simulation.steady_percent=5", "simulation.epochs=0.001"])
    with pytest.raises(ScenarioError, match="the rate is not the same throughout"):
        api.simulate(steady, faults=[fault])
    throughout = faults.SlowCard(0, 0.5, 0.0)
    assert api.simulate(steady, faults=[throughout]).summary.steady is not None


@pytest.mark.parametrize("key", ["duplicate", "reorder"])
@pytest.mark.parametrize(
    "settings",
    [
        ["algorithm.name=sd-psgd"],
        ["algorithm.name=sgp"],
        ["algorithm.name=asgd"],
        ["algorithm.exchange=lock", "learners=4"],
    ],
)
def test_disorder_is_refused_where_it_would_be_taken_for_news(
    settings: list[str], key: str
) -> None:
    asked = load(SMALL, [*settings, f"faults.messages=[{{}}, {{{key}=0.1, delay_s=0.002}}]"])
    with pytest.raises(ScenarioError, match=rf"faults\.messages\.1\.{key} = 0\.1: .*Leave it out"):
        api.simulate(asked)
    chance: dict[str, Any] = {key: 0.1}
    weather = faults.Weather(delay_s=0.002, **chance)
    with pytest.raises(UsageError, match=rf"Weather\(.*{key}=0\.1.*relies on messages"):
        api.simulate(load(SMALL, settings), faults=[weather])


@pytest.mark.parametrize("key", ["duplicate", "reorder"])
@pytest.mark.parametrize(
    "settings", [[], ["algorithm={name='h-adpsgd', learners_per_group=2}", "learners=4"]]
)
def test_disorder_is_borne_where_messages_are_numbered(settings: list[str], key: str) -> None:
    bad = f"faults.messages=[{{{key}=0.1, delay_s=0.002}}]"
    summary = api.simulate(load(SMALL, ["training.audit=true", bad, *settings])).summary
    assert summary.conservation_error is not None
    assert summary.conservation_error < 1e-12


@pytest.mark.parametrize("side", [(), range(5)])
def test_a_partition_that_parts_nobody_is_refused(side: Sequence[int]) -> None:
    with pytest.raises(UsageError, match="parts nobody of 5 learners"):
        api.simulate(load(SMALL), faults=[faults.cut_off(*side, start_s=0.0)])


def test_a_partition_of_all_learners_of_some_servers_is_of_those_that_are_there() -> None:
    # The third server has two devices and one of the five learners.
    by_server, by_rank = (
        api.simulate(load(SMALL, [f"faults.partitions=[{{{side}, end_s=0.02}}]"]))
        for side in ("servers=[2]", "learners=[4]")
    )
    assert by_server.summary.digest == by_rank.summary.digest


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ("crashes=[{learner=1, at_step=9999}]", "crashes.0 has no effect: learner 1 did not get"),
        ("stragglers=[{learner=1, factor=2, start_s=60}]", "stragglers.0 has no effect: it begins"),
        (
            "partitions=[{learners=[1], start_s=60}]",
            "partitions.0 has no effect: it begins at 60 s",
        ),
        ("links=[{server=0, factor=0.5, start_s=60}]", "links.0 has no effect: it begins at 60 s"),
        ("messages=[{drop=0.1, start_s=60}]", "messages.0 has no effect: it begins at 60 s"),
        (
            'messages=[{drop=0.1}, {drop=0.1, tags=["ofer"]}]',
            "messages.1.tags.0 has no effect: no message is of kind 'ofer'. Those sent are: ",
        ),
        (
            'messages=[{drop=0.1, tags=["offer", "ofer"]}]',
            "messages.0.tags.1 has no effect: no message is of kind 'ofer'",
        ),
        (
            "crashes=[{learner=1, at_s=0.01, rejoin_after_s=0.01}, {learner=1, at_s=1000}]",
            "crashes.1 has no effect: learner 1 did not get there; the run was over",
        ),
        # In whatever order they are written.
        (
            "crashes=[{learner=1, at_s=1000}, {learner=1, at_s=0.01, rejoin_after_s=0.01}]",
            "crashes.0 has no effect: learner 1 did not get there; the run was over",
        ),
        (
            "crashes=[{learner=1, at_step=9999}, {learner=1, at_step=2, rejoin_after_s=0.01}]",
            "crashes.0 has no effect: learner 1 did not get there; the run was over",
        ),
        (
            "crashes=[{learner=1, at_s=0.01}, {learner=1, at_s=0.02}]",
            "crashes.1 has no effect: learner 1 was down already",
        ),
    ],
)
def test_what_befell_nobody_is_told(table: str, says: str) -> None:
    (warning,) = api.simulate(load(SMALL, [f"faults.{table}"])).warnings
    assert says in warning


LATE = "faults.messages=[{reorder=0.01, delay_s=100}]"
"""Messages that come when their learners have long ended, which takes a tenth of a second."""


def test_what_is_heard_after_the_end_is_no_part_of_the_run() -> None:
    outcome = api.simulate(load(SMALL, ["faults.detect_s=0.001", LATE]))
    assert outcome.tally.last_s > 100
    summary = outcome.summary
    assert 0.05 < summary.elapsed_s < 1
    epochs = summary.samples / summary.samples_per_epoch
    assert summary.hours_per_epoch == pytest.approx(summary.elapsed_s / 3600 / epochs)


@pytest.mark.parametrize(
    "table",
    [
        "crashes=[{learner=3, at_s=50}]",
        "partitions=[{learners=[0, 1], start_s=50}, {learners=[2, 3], start_s=50}]",
    ],
)
def test_what_begins_after_the_end_befalls_nobody(table: str) -> None:
    late = ["faults.detect_s=0.001", LATE]
    as_it_was, outcome = (
        api.simulate(load(SMALL, [*late, *more])) for more in ([], [f"faults.{table}"])
    )
    assert outcome.summary.faults == as_it_was.summary.faults
    assert outcome.summary.digest == as_it_was.summary.digest
    assert outcome.warnings
    assert all("the run was over at 0.1" in warning for warning in outcome.warnings)


@pytest.mark.parametrize("when", [{"at_step": 2}, {"at_s": 0.01}])
def test_a_crash_in_code_hides_none_of_the_scenario_that_did_not_happen(
    when: dict[str, Any],
) -> None:
    small = load(SMALL, ["faults.crashes=[{learner=1, at_step=9999}]"])
    again = faults.Crash(1, rejoin_after_s=0.01, **when)
    (warning,) = api.simulate(small, faults=[again]).warnings
    assert "crashes.0 has no effect: learner 1 did not get there" in warning


def test_of_what_befell_somebody_there_is_no_warning() -> None:
    tables = (
        "detect_s=0.001",
        "crashes=[{learner=1, at_step=9}]",
        "stragglers=[{learner=2, factor=2}]",
        "links=[{pair=[0, 4], factor=0.5}]",
        'messages=[{drop=0.1, tags=["offer", "answer"]}]',
    )
    run = load(SMALL, [f"faults.{table}" for table in tables])
    assert api.simulate(run).warnings == ()


def test_a_crash_in_code_may_be_of_any_type_that_counts_or_measures() -> None:
    plain, of_numpy = (
        api.simulate(load(SMALL), faults=crashes).summary
        for crashes in (
            [faults.Crash(3, at_step=10), faults.Crash(1, at_s=0.0)],
            [
                faults.Crash(3, at_step=cast(int, numpy.int64(10))),
                faults.Crash(1, at_s=cast(float, numpy.float32(0))),
            ],
        )
    )
    assert of_numpy.digest == plain.digest


def test_a_crash_at_a_whole_second_is_at_no_step() -> None:
    toll = api.simulate(load(SMALL), faults=[faults.Crash(1, at_s=60)]).toll
    assert toll is not None
    assert toll.crashed == ()


def test_without_anyone_left_there_is_no_model() -> None:
    with pytest.raises(RunError, match="had crashed at the end"):
        api.simulate(load(SMALL), faults=[faults.fail_at(rank, step=5) for rank in range(5)])
