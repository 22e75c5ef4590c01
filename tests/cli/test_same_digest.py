"""What a run is does not depend on who looks."""

from __future__ import annotations

from pathlib import Path

import pytest

from dualrt import api
from dualrt.scenario import load


@pytest.mark.parametrize("scenario", ["swb2000-h-adpsgd-64", "swb2000-ssgd-16"])
def test_a_run_whose_records_are_kept_has_the_digest_of_one_that_is_summed_up(
    scenario: str, tmp_path: Path
) -> None:
    """Kept records are of every learner; without them some are simulated for others."""
    short = load(scenario, ["simulation.epochs=0.002"])
    kept = api.simulate(short, out=tmp_path / "run")
    summed_up = api.simulate(short, on_progress=lambda _: None)
    assert kept.summary.digest == summed_up.summary.digest
    assert kept.summary.steps_by_learner == summed_up.summary.steps_by_learner
    assert kept.tally.busy_s == summed_up.tally.busy_s
    assert kept.summary.elapsed_s == summed_up.summary.elapsed_s
