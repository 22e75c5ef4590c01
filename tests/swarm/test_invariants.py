"""Each invariant: what violates it, and when it cannot be told."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from dualrt import api, faults
from dualrt.core.errors import DeadlockError, PeerLostError, RunError, StrandError
from dualrt.core.faults import Detection, GivenUp, Toll
from dualrt.core.records import Update
from dualrt.scenario import load
from dualrt.swarm.invariants import Calm, Evidence, judge, precision
from dualrt.swarm.witness import EndlessError, Witness

CALM = Calm(elapsed_s=0.08, updates=400, active=(0, 1), slowest_step_s=1e-3, staleness=3)


AFTER_HEALING = ("bounded staleness", "progress after healing", "answers after healing")


def update(learner: int, *, epoch: float = 0.0, staleness: int = 0, missed: int = 0) -> Update:
    return Update(learner, 1, epoch, 0.1, None, staleness, missed, 1)


def steady(until_s: float = 0.1, learners: tuple[int, ...] = (0, 1)) -> Witness:
    """An update a millisecond of each."""
    witness = Witness()
    for step in range(int(until_s * 1000)):
        for learner in learners:
            witness.update(step * 1e-3, update(learner, epoch=step / 10))
    return witness


@pytest.fixture(scope="module")
def sound() -> Evidence:
    """A run that ended, with one fault, healed at 10 ms."""
    scenario = load("swarm-small", ["training.audit=true", "simulation.numerics=true"])
    outcome = api.simulate(scenario, faults=[faults.Weather(duplicate=0.0)])
    return Evidence(
        witness=steady(),
        calm=CALM,
        detection=Detection(1e-4, 2e-3),
        healed_s=0.01,
        loses=False,
        crashes_alone=False,
        outlives_peers=True,
        error=None,
        summary=outcome.summary,
        toll=outcome.toll,
        scale=precision(outcome.model),
    )


def violated(evidence: Evidence) -> set[str]:
    findings, _ = judge(evidence)
    return {finding.invariant for finding in findings}


def failed(sound: Evidence, error: RunError) -> Evidence:
    return replace(sound, error=error, summary=None, toll=None, scale=None)


def lost() -> StrandError:
    error = StrandError(0, "train", 3, (), PeerLostError(1, "it crashed"))
    error.__cause__ = PeerLostError(1, "it crashed")
    return error


def test_a_sound_run_violates_none_and_is_checked_for_all(sound: Evidence) -> None:
    assert judge(sound) == ([], {})


def test_a_deadlock_is_one(sound: Evidence) -> None:
    assert violated(failed(sound, DeadlockError("all wait"))) == {"no deadlock"}


def test_a_run_that_fails_or_goes_on_for_ever_does_not_end(sound: Evidence) -> None:
    for error in (RunError("broken"), EndlessError("still going")):
        assert violated(failed(sound, error)) == {"end"}


def test_who_needs_everyone_may_stop_where_somebody_may_be_lost(sound: Evidence) -> None:
    stopped = failed(sound, lost())
    assert violated(replace(stopped, loses=True, outlives_peers=False)) == set()
    assert violated(replace(stopped, loses=False, outlives_peers=False)) == {"end"}
    assert violated(replace(stopped, loses=True, outlives_peers=True)) == {"end"}


def test_a_sum_that_is_off_is_not_conserved(sound: Evidence) -> None:
    assert sound.summary is not None
    off = replace(sound.summary, conservation_error=1e-3)
    assert violated(replace(sound, summary=off)) == {"conservation"}


def test_what_was_lost_may_be_missing_from_the_sum(sound: Evidence) -> None:
    assert sound.summary is not None
    off = replace(sound, summary=replace(sound.summary, conservation_error=1e-3))
    for toll in (Toll(lost=1), Toll(crashed=((0, 0.1),))):
        findings, untold = judge(replace(off, toll=toll))
        assert findings == []
        assert "a message was lost" in untold["conservation"]


def test_what_the_dead_took_is_known_where_messages_go_their_way(sound: Evidence) -> None:
    assert sound.summary is not None
    off = replace(sound, summary=replace(sound.summary, conservation_error=1e-3))
    crashed = Toll(crashed=((0, 0.1),), lost=1)
    assert violated(replace(off, toll=crashed, crashes_alone=True)) == {"conservation"}


def test_news_may_find_no_way_where_learners_are_gone_for_good(sound: Evidence) -> None:
    _, untold = judge(replace(sound, toll=Toll(crashed=((0, 0.1),))))
    assert "ways for news" in untold["bounded staleness"]
    assert judge(replace(sound, toll=Toll(crashed=((0, 0.1),), rejoined=((0, 0.2),))))[0] == []


@pytest.mark.parametrize(
    "wrong",
    [
        update(0, missed=1_000_000, epoch=99.0),
        update(0, staleness=2, missed=1, epoch=99.0),
        update(0, staleness=-1, epoch=99.0),
        update(0, epoch=0.0),
    ],
    ids=["more than were made", "of one more than of all", "less than none", "less than before"],
)
def test_counts_that_cannot_be_are_noticed(sound: Evidence, wrong: Update) -> None:
    witness = steady()
    witness.update(0.2, wrong)
    assert "counting" in violated(replace(sound, witness=witness))


def test_who_was_started_again_may_know_less(sound: Evidence) -> None:
    witness = steady(0.05)
    witness.update(0.06, update(0, epoch=0.5))
    back = replace(sound, witness=witness)
    assert "counting" in violated(back)
    assert "counting" not in violated(replace(back, toll=Toll(rejoined=((0, 0.055),))))


def test_staleness_is_bounded_once_all_has_healed(sound: Evidence) -> None:
    for time_s, bad in ((0.005, False), (0.2, True)):
        witness = steady()
        witness.updates.append((time_s, update(1, staleness=50, missed=50, epoch=99.0)))
        found = violated(replace(sound, witness=witness))
        assert ("bounded staleness" in found) == bad


def test_everyone_who_is_up_goes_on_once_all_has_healed(sound: Evidence) -> None:
    idle = replace(sound, witness=steady(learners=(0,)))
    assert violated(idle) == {"progress after healing"}
    _, untold = judge(replace(sound, healed_s=0.097))
    soon = "the run ended soon after the last fault"
    assert untold == dict.fromkeys(AFTER_HEALING, soon)


def test_whoever_is_up_answers_once_all_has_healed(sound: Evidence) -> None:
    def given_up(began_s: float, silent: bool) -> Evidence:
        wait = GivenUp(0, 1, began_s, began_s + 2e-3, silent)
        return replace(sound, toll=Toll(given_up=(wait,)))

    assert violated(given_up(0.05, silent=True)) == {"answers after healing"}
    assert violated(given_up(0.05, silent=False)) == set()
    # During faults anything may be late, and after its last step it waits for what was lost then.
    assert violated(given_up(0.005, silent=True)) == set()
    assert violated(given_up(0.2, silent=True)) == set()


def test_where_a_fault_never_ends_nothing_heals(sound: Evidence) -> None:
    never = "a fault of the scenario never ends"
    assert judge(replace(sound, healed_s=math.inf)) == ([], dict.fromkeys(AFTER_HEALING, never))


def test_where_nobody_made_a_step_after_the_faults_nobody_can_say_who_answers(
    sound: Evidence,
) -> None:
    wait = GivenUp(0, 1, 0.098, 0.0985, True)
    _, untold = judge(replace(sound, healed_s=0.097, toll=Toll(given_up=(wait,))))
    assert untold["answers after healing"] == "the run ended soon after the last fault"


def test_a_witness_ends_a_run_that_would_have_no_end() -> None:
    for witness in (Witness(limit_s=1.0), Witness(limit_updates=2)):
        witness.update(0.5, update(0))
        witness.update(0.9, update(0))
        with pytest.raises(EndlessError, match="still going"):
            witness.update(1.1, update(0))
