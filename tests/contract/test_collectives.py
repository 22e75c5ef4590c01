"""AllReduce and Broadcast, in virtual time and between processes."""

from __future__ import annotations

from typing import NamedTuple, cast

import pytest

from dualrt.core.effects import AllReduce, Broadcast, Group
from dualrt.core.errors import DeadlockError, StrandError
from tests.support.chorus import ENDS, STAGES, Findings
from tests.support.stage import in_simulation, in_threads, main


@pytest.fixture(scope="module", params=STAGES)
def found(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Findings:
    return STAGES[cast(str, request.param)](tmp_path_factory.mktemp("chorus"))


def test_an_allreduce_is_the_mean_at_every_member(found: Findings) -> None:
    assert [mine["mean of all"] for mine in found] == [[1, 10]] * 3


def test_an_allreduce_leaves_alone_what_was_brought(found: Findings) -> None:
    brought = [mine["what was brought, afterwards"] for mine in found]
    assert brought == [[0, 0], [1, 10], [2, 20]]


def test_a_vector_that_is_spent_has_the_same_mean(found: Findings) -> None:
    assert [mine["mean of what was spent"] for mine in found] == [[1, 10]] * 3


def test_a_group_needs_nobody_else(found: Findings) -> None:
    assert [found[rank]["mean of the ends"] for rank in ENDS.ranks] == [[1, 10]] * 2


def test_a_group_of_one_is_its_own_mean_and_root(found: Findings) -> None:
    for rank, mine in enumerate(found):
        assert mine["mean of one"] == [rank, 10 * rank]
        assert mine["broadcast to oneself"] == ((1,), [rank, 10 * rank], "n")


@pytest.mark.parametrize("root", range(3))
def test_everyone_gets_the_root_s_packet_whole(found: Findings, root: int) -> None:
    packet = ((root, 5), [root, root + 1, root + 2], (root, "note"))
    assert [mine[f"broadcast from {root}"] for mine in found] == [packet] * 3


def test_a_packet_without_a_body_is_broadcast_too(found: Findings) -> None:
    assert [mine["broadcast of a word"] for mine in found] == [((), None, True)] * 3


def test_the_nth_calls_of_all_members_belong_together(found: Findings) -> None:
    assert [mine["means in a row"] for mine in found] == [[1, 2, 3, 4, 5]] * 3


def test_an_allreduce_runs_beside_a_computation(found: Findings) -> None:
    beside = [mine["mean beside a computation"] for mine in found]
    assert beside == [([1, 10], rank) for rank in range(3)]


def test_gradients_are_averaged_in_pieces_and_each_loss_is_its_own(found: Findings) -> None:
    for rank, mine in enumerate(found):
        mean, loss = mine["mean of gradients in pieces"]
        assert mean == pytest.approx([1, 2, 3, 4])
        assert loss == rank


PAIR = Group("pair", (0, 1))


class Vector(NamedTuple):
    nbytes: int


async def end() -> None:
    pass


async def reduce() -> None:
    await AllReduce(PAIR, Vector(8))


async def broadcast() -> None:
    await Broadcast(PAIR, 0)


def test_a_collective_that_a_member_never_calls_is_a_deadlock() -> None:
    with pytest.raises(DeadlockError, match=r"learner 0, .* waits for AllReduce in pair"):
        in_simulation([[main(reduce)], [main(end)]])


def test_members_that_call_different_collectives_are_told_so() -> None:
    told = "group 'pair': learner 1 calls broadcast from 0 where learner 0 calls allreduce"
    with pytest.raises(StrandError, match=told):
        in_simulation([[main(reduce)], [main(broadcast)]])


def test_a_collective_without_a_group_in_the_layout_is_told_so() -> None:
    with pytest.raises(StrandError, match="the algorithm's layout names no group"):
        in_threads([[main(broadcast)]])
