"""The scripts in examples/, as several processes run them; the tutorial's goes through torchrun."""

from __future__ import annotations

import re

import pytest

from tests.support.processes import ended, started


def figure(example: str, pattern: str) -> float:
    """What an example prints about itself, from two processes."""
    with started(f"examples.{example}", processes=2) as running:
        ends = [ended(process) for process in running]
    assert [code for code, _, _ in ends] == [0, 0], ends
    found = re.search(pattern, ends[0][1])
    assert found is not None, ends
    return float(found[1])


def test_digits_are_learned_as_well_as_by_the_scenario() -> None:
    # dualrt simulate digits-adpsgd: 0.939, on another split. At a constant rate some moments are
    # worse by five hundredths; a guess is right in 0.1.
    assert figure("torchrun_digits", r"held-out accuracy ([\d.]+)") > 0.8


def test_accelerate_prepares_all_but_the_model() -> None:
    pytest.importorskip("accelerate", reason="examples/accelerate_recipe.py is for its users")
    assert figure("accelerate_recipe", r"2 learners, training accuracy ([\d.]+)") > 0.8


def test_lightning_has_the_loop_and_all_processes_learn() -> None:
    pytest.importorskip("lightning", reason="examples/lightning_strategy.py is for its users")
    assert figure("lightning_strategy", r"2 learners, training accuracy ([\d.]+)") > 0.8
