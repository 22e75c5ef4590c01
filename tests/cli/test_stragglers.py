"""One learner ten times slower, for real: what it costs the others.

A gradient is a sleep, so learners do not compete for the processor; and paces are medians over
steps, so that a machine that is busy with other things moves both sides of a comparison little.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from statistics import median

import pytest

from dualrt.core.records import Span
from dualrt.observe.recorder import read_records
from tests.support import commands

SLEEPY = Path(__file__).parent / "scenarios" / "sleepy.toml"

STRAGGLER = "faults.stragglers=[{learner=2, factor=10}]"

GRADIENT_S = 0.05

pytestmark = pytest.mark.alone

Paces = Mapping[int, float]
"""Median seconds from one gradient to the next, by learner."""


def paces(folder: Path, *settings: str) -> Paces:
    words = commands.settings("learners=3", *settings)
    commands.result("train", SLEEPY, "--local", "3", *words, "--out", folder)
    starts: dict[int, list[float]] = {0: [], 1: [], 2: []}
    for record in read_records(folder):
        if isinstance(record, Span) and record.kind == "gradient":
            starts[record.learner].append(record.start_s)
    return {
        learner: median(later - earlier for earlier, later in pairwise(sorted(begun)))
        for learner, begun in starts.items()
    }


@pytest.fixture(scope="module")
def straggling(tmp_path_factory: pytest.TempPathFactory) -> Paces:
    return paces(tmp_path_factory.mktemp("runs") / "out", "training.epochs=0.8", STRAGGLER)


def test_gossiping_learners_keep_their_pace_beside_a_straggler(
    straggling: Paces, tmp_path: Path
) -> None:
    undisturbed = paces(tmp_path / "out", "training.epochs=1")
    for fast in (0, 1):
        assert straggling[fast] < 1.05 * undisturbed[fast]


def test_the_straggler_is_ten_times_slower(straggling: Paces) -> None:
    assert straggling[2] > 10 * GRADIENT_S


def test_an_allreduce_goes_at_the_stragglers_pace(tmp_path: Path) -> None:
    central = paces(tmp_path / "out", "training.epochs=0.15", "algorithm.name=ssgd", STRAGGLER)
    assert min(central.values()) > 9 * GRADIENT_S
