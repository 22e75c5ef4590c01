"""Steps beside an exchange: how many, whom they wait for, and whom an exchange is with."""

from __future__ import annotations

import gc
from itertools import pairwise
from math import ceil

import pytest

from dualrt.algorithms.adpsgd import ADPSGD
from dualrt.algorithms.hierarchical import HierarchicalADPSGD
from dualrt.core.bodies import drop
from dualrt.core.effects import Send
from dualrt.core.learner import Learner
from dualrt.workloads.phantom import Phantom
from dualrt.workloads.quadratic import Quadratic
from tests.support.exact import ExactWorkload, learners_of
from tests.support.pushing import body, first
from tests.support.runs import Case
from tests.support.simulated import Log, machine, simulate

GRADIENT_S = 10e-3
SLOW_S = 8e-3
"""A latency with which an exchange takes some three gradients."""


def run(
    algorithm: type[Learner],
    learners: int = 2,
    *,
    latency_s: float = SLOW_S,
    gpus_per_server: int = 1,
    **settings: int,
) -> Log:
    """On a ring, with devices that all take the same time for each gradient."""
    workload = Phantom(
        seed=0,
        learners=learners,
        batch=10,
        samples_per_epoch=10 * 60 * learners,
        parameters_bytes=10_000,
    )
    on = {"latency_s": latency_s, "gpus_per_server": gpus_per_server}
    case = Case(algorithm, learners, settings, machine=on)
    return simulate(case.cast(workload), case.where())


def offers(log: Log, learner: int) -> list[tuple[float, int]]:
    """When a learner began exchanges, and with whom."""
    return [
        (span.start_s, span.peer)
        for span in log.spans
        if (span.learner, span.kind) == (learner, "send offer")
    ]


def exchange_s(log: Log) -> float:
    """From an offer to its average, which is alike for all."""
    began, ended = (
        [span for span in log.spans if (span.learner, span.strand, span.kind) == (0, "train", kind)]
        for kind in ("send offer", "blend")
    )
    lasted = {round(end.end_s - begin.start_s, 9) for begin, end in zip(began, ended, strict=True)}
    assert len(lasted) == 1
    return lasted.pop()


def steps_between_offers(log: Log, learner: int = 0) -> list[int]:
    times = [time_s for time_s, update in log.updates if update.learner == learner]
    began = [time_s for time_s, _ in offers(log, learner)]
    return [sum(one <= time_s < other for time_s in times) for one, other in pairwise(began)]


@pytest.mark.parametrize(("overlap", "taken"), [(2, 2), (3, 3), (4, 4), (5, 4), (50, 4)])
def test_steps_go_on_beside_an_exchange_until_they_are_as_many_as_the_overlap(
    overlap: int, taken: int
) -> None:
    log = run(ADPSGD, overlap=overlap)
    assert ceil(exchange_s(log) / GRADIENT_S) == 4
    # A step is over when its gradient has been applied, so the first may count for the one before.
    counts = steps_between_offers(log)
    assert set(counts[1:-1]) == {taken}


def test_with_an_overlap_that_is_long_enough_nobody_waits() -> None:
    log = run(ADPSGD, overlap=50)
    times = [time_s for time_s, update in log.updates if update.learner == 0]
    assert all(
        later - earlier == pytest.approx(GRADIENT_S, rel=0.01) for earlier, later in pairwise(times)
    )
    waiting = run(ADPSGD)
    assert waiting.steps(0) < 0.6 * waiting.steps(1)
    assert log.steps(0) > 0.95 * log.steps(1)


def test_an_exchange_that_is_faster_than_a_gradient_is_made_for_each() -> None:
    log = run(ADPSGD, overlap=8, latency_s=1e-6)
    assert set(steps_between_offers(log)[1:-1]) == {1}


@pytest.mark.parametrize(
    ("period", "overlap", "taken"), [(2, 8, 4), (6, 8, 6), (4, 4, 4), (6, 2, 6)]
)
def test_with_a_period_no_exchange_begins_before_it_is_over(
    period: int, overlap: int, taken: int
) -> None:
    log = run(ADPSGD, period=period, overlap=overlap)
    assert set(steps_between_offers(log)[1:-1]) == {taken}


class Asked:
    """A keeper that keeps nothing, and counts how often it was asked."""

    def __init__(self) -> None:
        self.times = 0

    def due(self) -> bool:
        self.times += 1
        return False

    def keep(self) -> None:
        raise AssertionError("nothing was due")


def test_a_checkpoint_can_be_taken_between_any_two_steps_with_no_exchange_beside_them() -> None:
    workload = ExactWorkload(learners=2, samples_per_epoch=120)
    learners = Case(ADPSGD, 2, {"period": 40, "overlap": 40}).cast(workload)
    for learner in learners:
        learner.keeper = Asked()
    log = simulate(learners, machine(2, latency_s=1e-6))
    for learner in learners:
        assert isinstance(learner.keeper, Asked)
        assert learner.keeper.times == log.steps(learner.rank) > 40


def test_what_is_stopped_before_its_exchange_begins_leaves_nothing_that_python_complains_of() -> (
    None
):
    learner = learners_of(
        ADPSGD, ExactWorkload(learners=2, samples_per_epoch=2), 2, {"overlap": 2}
    )[0]
    drop(learner.average_meanwhile())
    gc.collect()


def test_rounds_of_the_graph_are_those_of_exchanges_and_not_of_steps() -> None:
    # Two steps beside each: by steps, it would be the same neighbour each time.
    log = run(ADPSGD, 4, overlap=2)
    case = Case(ADPSGD, 4)
    first = case.cast(ExactWorkload(learners=4, samples_per_epoch=4))[0]
    assert isinstance(first, ADPSGD)
    planned = [peer for round_ in range(1000) for peer, _ in first.mixing.initiates(round_)]
    met = [peer for _, peer in offers(log, 0)]
    assert len(met) > 10
    assert met == planned[: len(met)]


def test_a_super_learner_takes_steps_beside_its_leaders_exchange() -> None:
    def leader(overlap: int) -> Log:
        return run(HierarchicalADPSGD, 4, gpus_per_server=2, learners_per_group=2, overlap=overlap)

    waiting, going_on = leader(1), leader(8)
    assert set(steps_between_offers(waiting)[1:-1]) == {1}
    assert set(steps_between_offers(going_on)[1:-1]) == {4}
    assert waiting.steps(0) < 0.7 * waiting.steps(2)
    assert going_on.steps(0) > 0.95 * going_on.steps(2)


def test_a_learner_that_goes_on_from_a_state_goes_on_with_the_next_round() -> None:
    def learner() -> ADPSGD:
        workload = Quadratic(seed=0, learners=4, batch=1, dimension=2, samples_per_epoch=4)
        return learners_of(ADPSGD, workload, 4, {"overlap": 2}, graph="complete")[0]

    def partner(of: ADPSGD) -> int:
        of.goes_ahead()
        averaging = body(of.average_meanwhile())
        offer = first(averaging)
        averaging.close()
        assert isinstance(offer, Send)
        return offer.peer

    before, after = learner(), learner()
    met = [partner(before) for _ in range(2)]
    after.restore(before.state())
    planned = [before.mixing.initiates(round_)[0][0] for round_ in range(3)]
    assert [*met, partner(after)] == planned
