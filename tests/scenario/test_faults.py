"""The table `[faults]`: what it becomes, and what it cannot be."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from dualrt import api
from dualrt.core.errors import ScenarioError
from dualrt.core.faults import Crash, Detection, Partition, SlowCard, SlowPair, Weather
from dualrt.scenario import Scenario, load


def faulty(*tables: str) -> Scenario:
    """The small shipped scenario, 5 learners on 3 servers of 2, with these faults."""
    return load("swarm-small", [f"faults.{table}" for table in tables])


def test_each_table_becomes_what_drivers_take() -> None:
    scenario = faulty(
        "crashes=[{learner=1, at_s=2}, {learner=2, at_step=7, rejoin_after_s=3}]",
        "partitions=[{learners=[0, 4], start_s=1, end_s=2}, {servers=[1], start_s=3}]",
        "links=[{server=2, factor=0.5}, {pair=[0, 3], factor=0.1, end_s=4}]",
        "messages=[{drop=0.1, tags=['offer'], pair=[1, 2]}, {delay=0.2, delay_s=5}]",
    )
    assert scenario.faults.build(learners=5, learners_per_server=2) == (
        Crash(1, at_s=2),
        Crash(2, at_step=7, rejoin_after_s=3),
        Partition(frozenset({0, 4}), 1, 2),
        Partition(frozenset({2, 3}), 3, math.inf),
        SlowCard(2, 0.5, 0),
        SlowPair(frozenset({0, 3}), 0.1, 0, 4),
        Weather(drop=0.1, tags=frozenset({"offer"}), pair=frozenset({1, 2})),
        Weather(delay=0.2, delay_s=5),
    )


def test_stragglers_alone_are_none_of_these() -> None:
    scenario = faulty("stragglers=[{learner=1, factor=2}]")
    assert scenario.faults.build(5, 2) == ()
    assert scenario.faults.simulated_only() == ()


def test_detection_follows_from_the_one_timeout_unless_it_is_set() -> None:
    assert faulty().faults.detection(60.0) == Detection(3.0, 60.0)
    assert faulty("detect_s=0.5").faults.detection(60.0) == Detection(0.5, 10.0)


def test_all_of_it_survives_the_way_into_a_file_and_back(tmp_path: Path) -> None:
    scenario = faulty(
        "crashes=[{learner=1, at_s=2.0}]",
        "partitions=[{servers=[1], start_s=3.0}]",
        "links=[{pair=[0, 3], factor=0.1}]",
        "messages=[{delay=0.2, delay_s=5.0, tags=['offer']}]",
        "detect_s=0.1",
    )
    file = tmp_path / "again.toml"
    file.write_text(scenario.to_toml())
    assert load(file).faults == scenario.faults


@pytest.mark.parametrize(
    ("table", "key", "says"),
    [
        ("crashes=[{learner=5, at_s=1}]", "crashes.0.learner", "no such learner among 5"),
        ("crashes=[{learner=1}]", "crashes.0", "needs either at_s or at_step"),
        ("crashes=[{learner=1, at_s=1, at_step=1}]", "crashes.0", "and not both"),
        ("partitions=[{start_s=1}]", "partitions.0", "needs either learners or servers"),
        ("partitions=[{learners=[1, 7]}]", "partitions.0.learners", "no such learner"),
        ("partitions=[{servers=[3]}]", "partitions.0.servers", "no such server among 3"),
        ("partitions=[{learners=[0, 1, 2, 3, 4]}]", "partitions.0.learners", "parts nobody"),
        ("partitions=[{servers=[2, 1, 0]}]", "partitions.0.servers", "parts nobody of 5"),
        ("partitions=[{learners=[]}]", "partitions.0.learners", "Name some of them, not all"),
        ("links=[{pair=[1, 1], factor=0.5}]", "links.0.pair", "is one learner"),
        ("messages=[{drop=0.5, pair=[2, 2]}]", "messages.0.pair", "is one learner"),
        ("links=[{server=3, factor=0.5}]", "links.0.server", "no such server among 3"),
        ("links=[{factor=0.5}]", "links.0", "needs either server or pair"),
        ("links=[{server=1, factor=0}]", "links.0.factor", "greater than 0"),
        ("links=[{server=1, factor=2}]", "links.0.factor", "less than or equal to 1"),
        ("links=[{pair=[1, 9], factor=0.5}]", "links.0.pair", "no such learner"),
        ("links=[{server=1, factor=0.5, start_s=2, end_s=1}]", "links.0.end_s", "before it starts"),
        ("messages=[{drop=1.5}]", "messages.0.drop", "less than or equal to 1"),
        ("messages=[{delay=0.5}]", "messages.0", "give delay_s"),
        ("messages=[{drop=0.5, start_s=2, end_s=1}]", "messages.0.end_s", "before it starts"),
        ("detect_s=0", "detect_s", "greater than 0"),
        ("crash=[]", "crash", "Did you mean 'crashes'?"),
    ],
)
def test_what_cannot_be_names_its_key(table: str, key: str, says: str) -> None:
    with pytest.raises(ScenarioError) as refused:
        faulty(table)
    assert refused.value.key == f"faults.{key}"
    assert says in str(refused.value)


@pytest.mark.parametrize(
    "table",
    [
        "partitions=[{learners=[1]}]",
        "links=[{server=1, factor=0.5}]",
        "messages=[{drop=0.5}]",
        "detect_s=1",
    ],
)
def test_what_real_runs_cannot_honour_is_an_error_there(table: str) -> None:
    with pytest.raises(ScenarioError, match="only the simulator honours it") as refused:
        api.check_real(faulty(table))
    assert refused.value.key == f"faults.{table.partition('=')[0]}"


def test_stragglers_and_crashes_are_honoured_there() -> None:
    api.check_real(faulty("stragglers=[{learner=1, factor=2}]"))
    api.check_real(faulty("crashes=[{learner=1, at_s=1}]"))


def test_nobody_returns_where_nobody_is_started_again() -> None:
    with pytest.raises(ScenarioError, match="only `dualrt train --local` starts") as refused:
        api.check_real(faulty("crashes=[{learner=1, at_s=1, rejoin_after_s=1}]"), returns=False)
    assert refused.value.key == "faults.crashes.0.rejoin_after_s"
