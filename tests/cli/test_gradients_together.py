"""A simulation that takes gradients together is the same run as one that does not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from torch import Tensor

from dualrt import api
from dualrt.core.weights import Gradient
from dualrt.core.workload import GradientOf
from dualrt.scenario import load
from dualrt.workloads.digits import Digits
from tests.support import noise

SHORT = ("learners=16", "training.epochs=2")
TOGETHER, ONE_BY_ONE = "simulation.gradients=together", "simulation.gradients=one-by-one"


def outcome(*overrides: str, name: str = "digits-adpsgd") -> api.Outcome:
    return api.simulate(load(name, overrides))


@pytest.fixture
def bundles(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many gradients each call for several was for."""
    sizes: list[int] = []
    gradients = Digits.gradients

    def counting(self: Digits, asked: Sequence[GradientOf[Tensor]]) -> list[Gradient[Tensor]]:
        sizes.append(len(asked))
        return gradients(self, asked)

    monkeypatch.setattr(Digits, "gradients", counting)
    return sizes


@pytest.mark.parametrize("algorithm", ["adpsgd", "ssgd"])
def test_it_happens_at_the_same_times_and_ends_at_the_same_model(
    algorithm: str, bundles: list[int]
) -> None:
    run = (*SHORT, f"algorithm.name={algorithm}")
    together, one_by_one = outcome(*run, TOGETHER), outcome(*run, ONE_BY_ONE)
    assert together.summary.digest.timing == one_by_one.summary.digest.timing
    # Rounding of a gradient is below 1e-6, and grows along a run.
    apart = (together.model - one_by_one.model).norm() / one_by_one.model.norm()
    assert float(apart) <= 1e-5
    assert together.summary.loss == pytest.approx(one_by_one.summary.loss, rel=1e-4)
    assert max(bundles) == 16
    assert not any("simulation.gradients" in warning for warning in together.warnings)


def test_it_is_one_run_whenever_it_is_repeated() -> None:
    assert outcome(*SHORT).summary.digest == outcome(*SHORT).summary.digest


@pytest.mark.parametrize(
    ("settings", "are_together"),
    [
        (["learners=16"], True),
        (["learners=15"], False),
        (["learners=15", TOGETHER], True),
        (["learners=16", ONE_BY_ONE], False),
    ],
)
def test_from_16_learners_on_they_are_together_unless_told_otherwise(
    settings: list[str], are_together: bool, bundles: list[int]
) -> None:
    outcome(*settings, "training.epochs=0.2")
    assert bool(bundles) is are_together


@pytest.mark.parametrize(
    ("name", "more"),
    [("quadratic-sd-psgd", []), ("digits-adpsgd", ["simulation.numerics=false"])],
)
def test_where_nothing_is_to_gain_asking_for_it_is_warned_about(name: str, more: list[str]) -> None:
    short = ["training.epochs=0.1", *more]
    (warning,) = outcome(*short, TOGETHER, name=name).warnings
    assert "simulation.gradients has no effect" in warning
    assert outcome(*short, name=name).warnings == ()


def test_the_blstm_goes_one_by_one_and_says_so(tmp_path: Path) -> None:
    data = noise.prepared(tmp_path / "noise.h5")
    small = [f"workload.data={data}", "workload.cells=4", "workload.batch=4", "training.epochs=1"]
    together = outcome(*small, TOGETHER, name="speech-adpsgd")
    assert "simulation.gradients has no effect" in together.warnings[0]
    assert together.summary.digest == outcome(*small, name="speech-adpsgd").summary.digest
