"""The same run is the same, event by event, in every process; another seed is another run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dualrt.algorithms.adpsgd import ADPSGD
from tests.support.digests import JITTERY, digests
from tests.support.exact import ExactWorkload
from tests.support.runs import ALGORITHMS, Case, label
from tests.support.simulated import digest_of

ROOT = Path(__file__).parents[2]
NAMES = [label(algorithm, settings) for algorithm, settings in ALGORITHMS]


@pytest.fixture(scope="module")
def once() -> dict[str, str]:
    return digests(seed=7)


@pytest.fixture(scope="module")
def again() -> dict[str, str]:
    return digests(seed=7)


@pytest.fixture(scope="module")
def of_another_seed() -> dict[str, str]:
    return digests(seed=8)


@pytest.fixture(scope="module", params=["1", "2"])
def elsewhere(request: pytest.FixtureRequest) -> dict[str, str]:
    """In a process that orders its sets of strings in its own way."""
    environment = {**os.environ, "PYTHONHASHSEED": request.param}
    ran = subprocess.run(
        [sys.executable, "-m", "tests.support.digests"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    made: dict[str, str] = json.loads(ran.stdout)
    return made


@pytest.mark.parametrize("name", NAMES)
def test_a_seed_is_one_run(name: str, once: dict[str, str], again: dict[str, str]) -> None:
    assert once[name] == again[name]


@pytest.mark.parametrize("name", NAMES)
def test_a_seed_is_one_run_whatever_the_hash_seed(
    name: str, once: dict[str, str], elsewhere: dict[str, str]
) -> None:
    assert once[name] == elsewhere[name]


@pytest.mark.parametrize("name", NAMES)
def test_another_seed_is_another_run(
    name: str, once: dict[str, str], of_another_seed: dict[str, str]
) -> None:
    assert once[name] != of_another_seed[name]


def test_algorithms_differ(once: dict[str, str]) -> None:
    assert len({*once.values()}) == len(ALGORITHMS)


def test_without_jitter_and_random_plans_the_seed_moves_nothing() -> None:
    assert digests(7, step_cv=0.0) == digests(8, step_cv=0.0)


def test_a_random_plan_is_drawn_from_the_seed() -> None:
    made = set()
    for seed in (1, 1, 2):
        case = Case(ADPSGD, 8, graph="complete", mixing="random-pairs", seed=seed)
        workload = ExactWorkload(learners=8, samples_per_epoch=80)
        made.add(digest_of(case.cast(workload), case.where()))
    assert len(made) == 2


def test_numbers_do_not_depend_on_when_the_run_is_repeated() -> None:
    finals = []
    for _ in range(2):
        case = Case(ADPSGD, 8, mixing="neighbours", machine=JITTERY)
        team = case.cast(ExactWorkload(learners=8, samples_per_epoch=80))
        digest_of(team, case.where())
        finals.append([learner.weights.snapshot() for learner in team])
    assert finals[0] == finals[1]
