"""Gossip: who is averaged with at once, and how the end spreads."""

from __future__ import annotations

from typing import Any

import pytest

from dualrt.algorithms.adpsgd import ADPSGD
from dualrt.algorithms.gossip import Gossiper
from dualrt.algorithms.hierarchical import HierarchicalADPSGD
from dualrt.core.effects import Delivery, Packet, Recv, Send, Together
from dualrt.core.errors import UsageError
from dualrt.core.learner import Layout
from tests.support.exact import ExactWorkload, learners_of, seats
from tests.support.pushing import body, first, result, sent


def team(learners: int, graph: str = "ring", mixing: str = "pairwise") -> list[ADPSGD]:
    workload = ExactWorkload(learners=learners, samples_per_epoch=learners)
    return learners_of(ADPSGD, workload, learners, graph=graph, mixing=mixing)


def test_one_exchange_of_a_round_is_made_without_ado() -> None:
    initiator, *_ = team(4)
    average = body(initiator.average(0))
    sent(first(average), 1, "offer")
    average.close()


def test_several_exchanges_of_a_round_run_at_once() -> None:
    hub, *_ = team(4, "complete", "neighbours")
    exchanges = first(hub.average(0))
    assert isinstance(exchanges, Together)
    offers = [first(child) for child in exchanges.children]
    peers = [peer for peer, _ in hub.mixing.initiates(0)]
    assert [offer.peer for offer in offers if isinstance(offer, Send)] == peers
    assert len(peers) == 2
    for child in exchanges.children:
        body(child).close()


def test_who_only_answers_in_a_round_averages_without_a_message() -> None:
    _, responder, *_ = team(4)
    average = responder.average(0)
    assert isinstance(average, Together)
    assert average.children == ()


def test_with_a_period_the_last_step_of_each_is_a_round() -> None:
    workload = ExactWorkload(learners=4, samples_per_epoch=4)
    learner = learners_of(ADPSGD, workload, 4, {"period": 3}, graph="complete")[0]
    partners = []
    for step in range(9):
        average = learner.average(step)
        if step % 3 < 2:
            assert isinstance(average, Together)
            assert average.children == ()
            continue
        offer = first(body(average))
        assert isinstance(offer, Send)
        partners.append(offer.peer)
        body(average).close()
    assert partners == [learner.mixing.initiates(round_)[0][0] for round_ in range(3)]


@pytest.mark.parametrize(
    ("algorithm", "settings"), [(ADPSGD, {}), (HierarchicalADPSGD, {"learners_per_group": 2})]
)
def test_a_period_below_one_is_refused(algorithm: type[Gossiper], settings: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="period = 0"):
        algorithm.layout(4, **settings, period=0)


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"overlap": 0}, "overlap = 0: steps beside one exchange; at least 1"),
        ({"overlap": 2, "exchange": "lock"}, "take exchange = 'delta', or overlap = 1"),
    ],
)
@pytest.mark.parametrize(
    ("algorithm", "more"), [(ADPSGD, {}), (HierarchicalADPSGD, {"learners_per_group": 2})]
)
def test_an_overlap_that_cannot_be_is_refused(
    algorithm: type[Gossiper], more: dict[str, int], settings: dict[str, Any], why: str
) -> None:
    with pytest.raises(UsageError, match=why):
        algorithm.layout(4, **more, **settings)


@pytest.mark.parametrize(("learners", "told"), [(1, []), (2, [0]), (5, [4, 0, 2]), (8, [4, 5, 7])])
def test_the_end_is_told_1_2_4_places_on(learners: int, told: list[int]) -> None:
    learner = team(learners)[min(3, learners - 1)]
    learner.weights.hear((7,) * learners)
    spread = learner.spread_the_end()
    answer = None
    for peer in told:
        assert sent(spread.send(answer), peer, "end").versions == (7,) * learners
    result(spread, answer)


@pytest.mark.parametrize("learners", [1, 2, 3, 5, 8, 13, 64])
def test_log2_hops_reach_everyone(learners: int) -> None:
    everyone = team(learners, "path")
    reached, hops = {0}, 0
    while len(reached) < learners:
        reached |= {peer for rank in reached for peer in _told_by(everyone[rank])}
        hops += 1
    assert hops <= (learners - 1).bit_length()


def _told_by(learner: ADPSGD) -> list[int]:
    spread = learner.spread_the_end()
    told: list[int] = []
    while True:
        try:
            effect = spread.send(None)
        except StopIteration:
            return told
        assert isinstance(effect, Send)
        told.append(effect.peer)


def test_the_end_that_is_heard_ends_the_training() -> None:
    learner, _ = team(2, "path")
    hear = learner.hear_the_end()
    assert first(hear) == Recv("end")
    assert not learner.finished
    hear.send(Delivery(1, Packet((0, 2))))
    assert learner.finished
    train = learner.train()
    # All that is left is to tell the other.
    sent(first(train), 1, "end")
    result(train)
    hear.close()


def test_without_a_graph_gossip_is_refused() -> None:
    workload = ExactWorkload(learners=2, samples_per_epoch=2)
    seat, _ = seats(workload, Layout(replicas=(0, 1)), learners=2)
    with pytest.raises(UsageError, match="learner 0 gossips, but it is no vertex of a graph"):
        first(ADPSGD(seat).average(0))
