"""Gradients that are under way together are taken together, and nobody can tell."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dualrt.algorithms.ssgd import SSGD
from dualrt.core.effects import Compute, Cost
from dualrt.core.errors import StrandError
from dualrt.core.faults import Crash, Detection
from dualrt.core.learner import Learner
from dualrt.core.weights import Gradient
from dualrt.core.workload import GradientOf
from dualrt.observe.digest import TimingDigest
from dualrt.sim.driver import Simulator
from dualrt.sim.faults import Adversity, FaultySimulator
from dualrt.sim.numerics import Numerics
from tests.support.exact import ExactWorkload
from tests.support.runs import ALGORITHMS, Case
from tests.support.simulated import Log, machine
from tests.support.stage import actors, main

LEARNERS = 4


class Joint(ExactWorkload):
    """Takes its gradients one by one, but says when it was asked for several."""

    def __init__(self, *, gradients_at_once: int = 64, learners: int = LEARNERS) -> None:
        super().__init__(learners=learners, samples_per_epoch=24)
        self.gradients_at_once = gradients_at_once
        self.bundles: list[int] = []
        self.alone = 0

    def gradient(self, at: Any, rank: int, draw: int) -> Gradient[Any]:
        self.alone += 1
        return super().gradient(at, rank, draw)

    def gradients(self, asked: Sequence[GradientOf[Any]]) -> list[Gradient[Any]]:
        self.bundles.append(len(asked))
        return [ExactWorkload.gradient(self, one.at, one.rank, one.draw) for one in asked]


class Choosy(Joint):
    """Refuses the gradients of one learner, and every bundle that has one of them."""

    def gradient(self, at: Any, rank: int, draw: int) -> Gradient[Any]:
        if rank == 1:
            raise ArithmeticError("not for learner 1")
        return super().gradient(at, rank, draw)

    def gradients(self, asked: Sequence[GradientOf[Any]]) -> list[Gradient[Any]]:
        if any(one.rank == 1 for one in asked):
            raise ArithmeticError("not for one of them")
        return super().gradients(asked)


def begun(workload: Joint, number: int = LEARNERS) -> list[Callable[[], Any]]:
    """So many gradients under way."""
    numerics, at = Numerics(together=True), workload.weights(0).snapshot().vector
    return [numerics.begin(GradientOf(workload, at, rank, 0)) for rank in range(number)]


def simulated(case: Case, workload: Joint, *, together: bool) -> tuple[str, list[Any]]:
    """The digest of what happened when, and the weights at the end."""
    learners, digest = case.cast(workload), TimingDigest()
    Simulator(learners, case.where(), digest, together=together).run()
    return digest.hexdigest(), [learner.weights.snapshot() for learner in learners]


class TestABundle:
    def test_it_is_evaluated_when_its_first_result_is_needed(self) -> None:
        workload = Joint()
        results = begun(workload)
        assert workload.bundles == []
        results[2]()
        assert workload.bundles == [LEARNERS]

    def test_it_is_evaluated_once_and_results_keep_their_places(self) -> None:
        workload = Joint()
        results = begun(workload)
        one_by_one = [workload.gradient(None, rank, 0) for rank in range(LEARNERS)]
        assert [results[rank]() for rank in (3, 1, 0, 2)] == [one_by_one[r] for r in (3, 1, 0, 2)]
        assert workload.bundles == [LEARNERS]

    def test_what_begins_later_is_in_the_next(self) -> None:
        workload = Joint()
        numerics, at = Numerics(together=True), workload.weights(0).snapshot().vector
        first, second = (numerics.begin(GradientOf(workload, at, rank, 0)) for rank in range(2))
        first()
        third, fourth = (numerics.begin(GradientOf(workload, at, rank, 1)) for rank in range(2))
        second()
        fourth()
        third()
        assert workload.bundles == [2, 2]

    def test_it_has_no_more_members_than_the_workload_says(self) -> None:
        workload = Joint(gradients_at_once=3)
        for result in begun(workload, 7):
            result()
        assert (workload.bundles, workload.alone) == ([3, 3], 1)

    def test_a_gradient_by_itself_is_taken_by_itself(self) -> None:
        workload = Joint()
        begun(workload, 1)[0]()
        assert (workload.bundles, workload.alone) == ([], 1)

    def test_two_workloads_have_bundles_of_their_own(self) -> None:
        mine, yours = Joint(), Joint()
        numerics, at = Numerics(together=True), mine.weights(0).snapshot().vector
        results = [
            numerics.begin(GradientOf(workload, at, rank, 0))
            for rank in range(2)
            for workload in (mine, yours)
        ]
        for result in results:
            result()
        assert (mine.bundles, yours.bundles) == ([2], [2])


class TestWhatStaysAsItIs:
    def test_work_of_another_kind(self) -> None:
        def work() -> None:
            pass

        assert Numerics(together=True).begin(work) is work

    def test_gradients_of_a_workload_that_offers_nothing(self) -> None:
        workload = ExactWorkload(learners=2, samples_per_epoch=4)
        work = GradientOf(workload, workload.weights(0).snapshot().vector, 0, 0)
        assert Numerics(together=True).begin(work) is work

    def test_gradients_of_a_workload_that_gains_nothing(self) -> None:
        workload = Joint(gradients_at_once=1)
        assert all(isinstance(result, GradientOf) for result in begun(workload))

    def test_gradients_where_it_is_switched_off(self) -> None:
        work = GradientOf(Joint(), None, 0, 0)
        assert Numerics(together=False).begin(work) is work


class TestErrors:
    def test_an_error_reaches_only_who_asked(self) -> None:
        workload = Choosy()
        results = begun(workload)
        with pytest.raises(ArithmeticError, match="not for learner 1"):
            results[1]()
        for rank in (0, 2, 3):
            assert results[rank]() == ExactWorkload.gradient(workload, None, rank, 0)

    def test_a_strand_can_catch_its_own_and_the_others_go_on(self) -> None:
        workload = Choosy()
        got: dict[int, Any] = {}

        async def ask(rank: int) -> None:
            at = workload.weights(rank).snapshot().vector
            try:
                got[rank] = await Compute(GradientOf(workload, at, rank, 0), Cost("work", flops=1))
            except ArithmeticError as error:
                got[rank] = str(error)

        script = [[main(partial(ask, rank))] for rank in range(LEARNERS)]
        Simulator(actors(script), machine(LEARNERS), Log(), together=True).run()
        assert got.pop(1) == "not for learner 1"
        assert got == {r: ExactWorkload.gradient(workload, None, r, 0) for r in (0, 2, 3)}

    def test_an_error_that_nobody_catches_names_its_learner(self) -> None:
        case = Case(SSGD, LEARNERS)
        with pytest.raises(StrandError, match=r"learner 1.*not for learner 1"):
            simulated(case, Choosy(), together=True)


def test_a_crash_drops_a_gradient_and_keeps_its_bundle() -> None:
    workload = Joint()
    got: list[int] = []

    async def ask(rank: int) -> None:
        at = workload.weights(rank).snapshot().vector
        await Compute(GradientOf(workload, at, rank, 0), Cost("work", flops=1e12))
        got.append(rank)

    learners = actors([[main(partial(ask, rank))] for rank in range(LEARNERS)])
    adversity = Adversity(
        (Crash(1, at_s=0.5),),
        Detection(detect_s=1.0, timeout_s=20.0),
        lambda rank, _: learners[rank],
    )
    FaultySimulator(learners, machine(LEARNERS), Log(), adversity, together=True).run()
    assert got == [0, 2, 3]
    assert workload.bundles == [LEARNERS]


@settings(max_examples=40, deadline=None)
@given(
    algorithm=st.sampled_from(ALGORITHMS),
    at_once=st.integers(2, 5),
    seed=st.integers(0, 3),
    jitter=st.sampled_from([0.0, 0.3]),
    slow=st.sampled_from([{}, {1: 4.0}]),
)
def test_a_run_is_the_same_whether_gradients_are_taken_together_or_not(
    algorithm: tuple[type[Learner], Mapping[str, int]],
    at_once: int,
    seed: int,
    jitter: float,
    slow: Mapping[int, float],
) -> None:
    kind, options = algorithm
    case = Case(kind, LEARNERS, options, seed=seed, machine={"step_cv": jitter, "slow": slow})
    one_by_one, together = Joint(), Joint(gradients_at_once=at_once)
    expected = simulated(case, one_by_one, together=False)
    assert simulated(case, together, together=True) == expected
    assert sum(together.bundles) + together.alone == one_by_one.alone
    assert max(together.bundles) <= at_once


def test_synchronous_learners_of_equal_speed_are_one_bundle_a_step() -> None:
    workload = Joint()
    simulated(Case(SSGD, LEARNERS), workload, together=True)
    assert set(workload.bundles) == {LEARNERS}
    assert workload.alone == 0
