"""The same fault in code is the same in both modes."""

from __future__ import annotations

import pytest

from dualrt import api, faults
from dualrt.core.errors import UsageError
from dualrt.observe.summary import Summary
from dualrt.real.rendezvous import Launch
from dualrt.scenario import load
from tests.support.processes import ended, started

THREE = ["learners=3", "training.epochs=3"]


@pytest.fixture(scope="module")
def real() -> tuple[list[int], Summary]:
    """Exit codes, and what came of it."""
    with started("tests.support.failing", "2", "20", *THREE, processes=3) as running:
        ends = [ended(process) for process in running]
    return [code for code, _, _ in ends], Summary.from_json(ends[0][1])


def test_a_learner_that_fails_at_a_step_is_down_in_either_mode_and_training_goes_on(
    real: tuple[list[int], Summary],
) -> None:
    codes, summary = real
    simulated = api.simulate(load("digits-adpsgd", THREE), faults=[faults.fail_at(2, 20)]).summary
    for one in (summary, simulated):
        assert one.faults is not None
        assert (one.faults.crashes, one.faults.down_at_the_end) == (1, (2,))
        # 3 epochs of 1,437 samples are 269 mini-batches of 16.
        assert all(steps > 60 for steps in one.steps_by_learner[:2])
    assert codes == [0, 0, -9]


def test_what_it_had_done_and_nobody_recorded_is_said_to_be_missing(
    real: tuple[list[int], Summary],
) -> None:
    _, summary = real
    assert summary.faults is not None
    assert summary.steps_by_learner[2] == 0
    # It failed as it began its step 20; the others know of those that it told them of.
    assert summary.faults.updates_uncounted in range(1, 21)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (faults.cut_off(1, start_s=1.0), "crashes alone"),
        (faults.fail_at(4, 1), "Count them from 0 to 3"),
        (faults.fail_at(1, 1, rejoin_after_s=1.0), "cannot start itself again"),
    ],
)
def test_what_a_real_run_cannot_have_is_refused(fault: faults.Fault, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        api.train(load("digits-adpsgd"), Launch(0, 4, 0, 4), faults=[fault])
