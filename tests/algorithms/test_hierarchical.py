"""Hierarchical AD-PSGD, read step by step."""

from __future__ import annotations

import pytest

from dualrt import api
from dualrt.algorithms.hierarchical import HierarchicalADPSGD
from dualrt.core.effects import Broadcast, Effect, Packet, Together
from dualrt.core.errors import UsageError
from dualrt.scenario import load
from tests.support.exact import ExactWorkload, learners_of
from tests.support.pushing import (
    body,
    computed,
    first,
    number,
    reduced,
    reported,
    result,
    sent,
    value,
)


def team(samples: int = 100) -> list[HierarchicalADPSGD]:
    """Four learners in two groups, in which ranks 0 and 2 lead."""
    workload = ExactWorkload(learners=4, samples_per_epoch=samples)
    return learners_of(
        HierarchicalADPSGD, workload, 4, {"learners_per_group": 2}, graph="path", rate=0.5
    )


def broadcast(effect: Effect[object]) -> Broadcast:
    assert isinstance(effect, Broadcast)
    return effect


def test_the_layout_has_groups_of_neighbours_and_gossiping_leaders() -> None:
    layout = HierarchicalADPSGD.layout(6, learners_per_group=3)
    assert [group.ranks for group in layout.groups] == [(0, 1, 2), (3, 4, 5)]
    assert layout.replicas == layout.gossipers == (0, 3)
    assert layout.batches_per_update == 3


@pytest.mark.parametrize("size", [0, 4, 7])
def test_groups_must_divide_the_learners(size: int) -> None:
    with pytest.raises(UsageError, match=f"learners_per_group = {size} does not divide 6"):
        HierarchicalADPSGD.layout(6, learners_per_group=size)


def test_by_default_a_node_is_a_super_learner() -> None:
    layout = HierarchicalADPSGD.layout(6, learners_per_node=2)
    assert [group.ranks for group in layout.groups] == [(0, 1), (2, 3), (4, 5)]
    assert layout == HierarchicalADPSGD.layout(6, learners_per_group=2, learners_per_node=3)


@pytest.mark.parametrize("learners_per_node", [None, 4])
def test_nodes_that_are_not_alike_are_refused(learners_per_node: int | None) -> None:
    with pytest.raises(UsageError, match="'node': the 6 learners are not spread evenly"):
        HierarchicalADPSGD.layout(6, learners_per_node=learners_per_node)


def test_leaders_lead_and_answer_and_followers_follow() -> None:
    leader, follower, *_ = team()
    assert [strand.name for strand in leader.strands()] == ["lead", "answer", "hear"]
    assert [strand.name for strand in follower.strands()] == ["follow"]


def test_a_leader_s_step_is_broadcast_gradient_beside_average_and_update() -> None:
    leader, *_ = team()
    lead = leader.train()
    told = broadcast(first(lead))
    assert (told.group.ranks, told.root) == ((0, 1), 0)
    assert told.packet == Packet((0, 0, 0, 0), number(1), False)
    together = lead.send(told.packet)
    assert isinstance(together, Together)
    assert repr(together) == ("Together(Learner._mean_gradient_at_once, Delta.initiate)")
    gradient, average = map(body, together.children)
    sent(first(average), 2, "offer")
    average.close()
    mine = computed(first(gradient), "gradient")
    assert reduced(gradient.send(mine), "node 0") == -6
    mean = result(gradient, number(4))
    staleness = computed(lead.send((mean, None)), "update")
    # The mean of the group was applied to 1.
    assert value(leader) == -1
    update = reported(lead.send(staleness))
    # One update stands for both batches.
    assert (update.step, update.samples) == (1, 2)
    lead.close()


def test_a_follower_takes_the_leader_s_weights_and_gives_a_gradient() -> None:
    _, follower, *_ = team()
    follow = follower.train()
    asked = broadcast(first(follow))
    assert (asked.root, asked.packet) == (0, None)
    gradient = computed(follow.send(Packet((3, 0, 2, 0), number(9), False)), "gradient")
    assert value(follower) == 9
    assert follower.weights.versions.freeze() == (3, 0, 2, 0)
    reduced(follow.send(gradient), "node 0")
    # It applies nothing itself, and ends when told.
    broadcast(follow.send(number(0)))
    result(follow, Packet((4, 0, 2, 0), number(8), True))
    assert value(follower) == 8


def test_a_leader_that_knows_the_end_tells_its_group_and_other_leaders() -> None:
    leader, *_ = team(samples=2)
    leader.weights.hear((0, 0, 1, 0))
    lead = leader.train()
    told = broadcast(first(lead)).packet
    assert told is not None
    assert told.note is True
    sent(lead.send(told), 2, "end")
    result(lead)


def test_in_the_simulator_a_node_is_a_server() -> None:
    settings = [
        "learners=6",
        "algorithm.name=h-adpsgd",
        "training.epochs=0.2",
        "cluster.servers=3",
        "cluster.gpus_per_server=2",
    ]
    by_server = api.simulate(load("quadratic-sd-psgd", settings)).summary
    by_size = api.simulate(
        load("quadratic-sd-psgd", [*settings, "algorithm.learners_per_group=2"])
    ).summary
    assert by_server.digest == by_size.digest
    assert by_server.steps == 2 * by_server.updates
