"""The faults of a seed: of the kinds asked for, over in time, and always the same."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualrt.scenario import load, toml
from dualrt.scenario.faults import Faults
from dualrt.swarm.draw import HEALED, KINDS, LOSING, Field, faults, healed_s

FIELD = Field(learners=5, servers=3, calm_s=1.0, detect_s=0.002, timeout_s=0.04)


@given(st.integers(0, 10_000), st.integers(2, 40))
def test_whatever_the_seed_a_scenario_can_have_them_and_they_are_over_in_time(
    seed: int, learners: int
) -> None:
    field = FIELD._replace(learners=learners)
    table = faults(seed, KINDS, field)
    Faults.model_validate(table)
    latest_s = HEALED * field.calm_s + 3 * field.timeout_s
    assert 0 < healed_s(table) <= latest_s * (1 + 1e-9)
    dead = {one["learner"] for one in table.get("crashes", ()) if "rejoin_after_s" not in one}
    assert len(dead) <= max(1, learners // 4)


def test_a_scenario_file_takes_them(tmp_path: Path) -> None:
    file = tmp_path / "faulty.toml"
    small = load("swarm-small").effective()
    for seed in range(10):
        table = faults(seed, KINDS, FIELD)
        file.write_text(toml.dumps({**small, "faults": table}))
        assert load(file).faults == Faults.model_validate(table)


def test_a_seed_draws_the_same_again_and_another_something_else() -> None:
    assert faults(7, KINDS, FIELD) == faults(7, KINDS, FIELD)
    assert faults(7, KINDS, FIELD) != faults(8, KINDS, FIELD)


@pytest.mark.parametrize("kind", KINDS)
def test_there_is_always_a_fault_of_the_only_kind_asked_for(kind: str) -> None:
    keys = {key for seed in range(20) for key in faults(seed, [kind], FIELD)}
    assert len(keys - {"detect_s"}) == 1


def test_many_seeds_lose_nothing() -> None:
    lossless = 0
    for seed in range(200):
        table = faults(seed, KINDS, FIELD)
        drops = any("drop" in one for one in table.get("messages", ()))
        lossless += not ({"crashes", "partitions"} & set(table) or drops)
    assert {"crashes", "returns", "partitions", "drop"} == set(LOSING)
    assert 70 < lossless < 130


def test_what_one_kind_draws_does_not_depend_on_the_others() -> None:
    both = faults(3, ["stragglers", "links"], FIELD)
    for kind in ("stragglers", "links"):
        assert kind not in both or both[kind] == faults(3, [kind], FIELD)[kind]
