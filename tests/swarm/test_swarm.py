"""Two hundred seeds of what must hold, and proof that it would be noticed if it did not."""

from __future__ import annotations

from pathlib import Path

import pytest

from dualrt.core.errors import RunError, ScenarioError, UsageError
from dualrt.swarm import INVARIANTS, KINDS, Swarm, swarm
from tests.swarm.scenarios import broken

SEEDS = 200


def violated(found: Swarm) -> set[str]:
    return {finding.invariant for one in found.failed for finding in one.findings}


@pytest.fixture(scope="module")
def found() -> Swarm:
    return swarm("swarm-small", SEEDS)


class TestTheShippedScenario:
    def test_every_invariant_holds_for_every_seed(self, found: Swarm) -> None:
        assert [(one.seed, one.findings) for one in found.failed] == []
        assert [one.seed for one in found.trials] == list(range(1, SEEDS + 1))

    def test_each_was_checked_for_many_seeds(self, found: Swarm) -> None:
        checked = found.checked
        assert set(checked) == {*INVARIANTS, "determinism"}
        assert min(checked[name] for name in INVARIANTS) > SEEDS / 3
        assert checked["determinism"] == SEEDS / 10

    def test_there_were_faults_of_every_kind(self, found: Swarm) -> None:
        assert set(found.faults) == {"stragglers", "crashes", "partitions", "links", "messages"}
        assert min(found.faults.values()) > SEEDS / 10
        assert sum(one.crashes for one in found.trials) > SEEDS / 4
        assert sum(one.lost for one in found.trials) > SEEDS

    def test_a_seed_does_not_depend_on_the_others(self, found: Swarm) -> None:
        alone = swarm("swarm-small", 1, first_seed=37, jobs=1)
        assert alone.trials == (found.trials[36],)


class TestMistakesAreFound:
    def test_averaging_with_the_current_weights(self, tmp_path: Path) -> None:
        found = swarm(broken(tmp_path, workload="Forgetful"), 5, kinds=["delay", "stragglers"])
        assert violated(found) == {"conservation"}
        assert len(found.failed) == 5

    def test_taking_what_comes_twice_for_two(self, tmp_path: Path) -> None:
        found = swarm(broken(tmp_path, algorithm="Gullible"), 5, kinds=["duplicate"])
        assert violated(found) == {"conservation"}

    def test_not_answering_any_more_after_a_loss(self, tmp_path: Path) -> None:
        found = swarm(broken(tmp_path, algorithm="Pedantic"), 5, kinds=["drop"])
        assert "answers after healing" in violated(found)

    def test_never_answering(self, tmp_path: Path) -> None:
        # It needs no fault to be found, so no seed is tried.
        with pytest.raises(RunError, match="waits for Recv answer"):
            swarm(broken(tmp_path, algorithm="Silent"), 5)


class TestOtherAlgorithms:
    @pytest.mark.parametrize("algorithm", ["ssgd", "sd-psgd"])
    def test_one_that_needs_everyone_stops_and_names_who_is_lost(self, algorithm: str) -> None:
        found = swarm("swarm-small", 8, overrides=[f"algorithm.name={algorithm}"])
        assert found.failed == ()
        assert any(one.stopped for one in found.trials)
        assert {"duplicate", "reorder"}.isdisjoint(found.plan.kinds)

    @pytest.mark.parametrize(
        "overrides", [["algorithm.name=asgd"], ["algorithm.exchange=lock", "learners=4"]]
    )
    def test_a_link_that_is_slow_enough_is_as_good_as_none(self, overrides: list[str]) -> None:
        # Slow by a hundred, so that a message takes longer than anybody is waited for.
        found = swarm("swarm-small", 1, first_seed=28, overrides=overrides, jobs=1)
        assert found.failed == ()
        assert [(one.kinds, one.stopped) for one in found.trials] == [(("links",), True)]

    def test_one_that_is_lost_where_all_are_needed_leaves_no_sum_to_check(self) -> None:
        # It crashes when the others have had from it all that they need.
        late = ["algorithm.exchange=lock", "learners=4"]
        found = swarm("swarm-small", 1, first_seed=174, overrides=late, jobs=1)
        assert found.failed == ()
        assert not found.trials[0].stopped
        assert "nobody knows what it took" in found.untold("conservation")

    def test_timing_alone_has_no_sum_to_conserve_and_says_so(self) -> None:
        found = swarm("swarm-small", 4, overrides=["simulation.numerics=false"], jobs=1)
        assert found.failed == ()
        assert found.checked["conservation"] == 0
        assert "there are no numbers" in found.untold("conservation")


def test_a_fault_of_the_scenario_counts_until_it_is_over() -> None:
    for messages, told in (("{drop=0.001}", 0), ("{drop=0.001, end_s=0.001}", 2)):
        own = [f"faults.messages=[{messages}]", "simulation.numerics=false"]
        found = swarm("swarm-small", 2, overrides=own, kinds=["stragglers"], jobs=1)
        assert found.checked["answers after healing"] == told


def test_an_unknown_kind_of_fault_is_refused() -> None:
    with pytest.raises(UsageError, match=rf"no kind 'earthquakes'.*{KINDS[0]}"):
        swarm("swarm-small", 1, kinds=["drop", "earthquakes"])


def test_a_kind_that_the_algorithm_does_not_bear_is_refused() -> None:
    with pytest.raises(UsageError, match=r"asgd as it is set does not bear 'duplicate'"):
        swarm("swarm-small", 1, kinds=["duplicate"], overrides=["algorithm.name=asgd"])


def test_a_learner_alone_is_refused() -> None:
    with pytest.raises(ScenarioError, match="somebody who can be lost"):
        swarm("swarm-small", 1, overrides=["learners=1"])
