"""How many files a learner may have open: as many as its peers take, or it says what is too low."""

from __future__ import annotations

import resource
from collections.abc import Sequence

import pytest
import torch
import zmq

from dualrt.core.effects import Group, Packet
from dualrt.core.errors import UsageError
from dualrt.doctor import host
from dualrt.doctor.findings import Verdict, fail
from dualrt.real import descriptors, ring, sockets
from dualrt.real.rendezvous import Launch
from dualrt.real.session import lack_of_files
from tests.support.files import at_most, harden, none_left
from tests.support.gossips import learner, team

MANY = 400
"""Learners: three sockets of ZeroMQ for each are more than its default, of 1,023."""

NEEDED = (MANY - 1) * sockets.DESCRIPTORS_A_PEER


def nowhere(learners: int) -> dict[int, str]:
    """Addresses of a run in which nobody is greeted."""
    return {rank: f"tcp://10.0.0.1:{1024 + rank}" for rank in range(learners)}


def soft() -> int:
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def test_the_soft_limit_is_raised_for_the_peers_of_a_run_and_for_no_fewer() -> None:
    opened = descriptors.opened()
    with at_most(opened + 400), learner(0) as few, learner(0) as many:
        few.connect(nowhere(4))
        assert soft() == opened + 400
        many.connect(nowhere(MANY))
        assert soft() >= opened + NEEDED + descriptors.SPARE


def test_a_hard_limit_that_is_too_low_is_named_with_what_is_needed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    low = descriptors.opened() + 300
    harden(monkeypatch, low)
    with at_most(low), learner(0) as one, pytest.raises(UsageError) as raised:
        one.connect(nowhere(MANY))
    said = str(raised.value)
    assert f"connects to {MANY - 1} others" in said
    assert f"is {low}." in said
    needed = int(said.partition("ulimit -n ")[2].partition("`")[0])
    assert low < NEEDED < needed < NEEDED + low


def test_a_hard_limit_that_has_no_more_than_that_is_enough(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hard = descriptors.opened() + 100
    harden(monkeypatch, hard)
    with at_most(descriptors.opened() + 10):
        descriptors.make_room(50, "a test", besides=1000)
        assert soft() == hard


def test_a_connection_for_which_no_file_is_left_says_so_to_everyone_who_waits() -> None:
    with learner(0) as one:
        one.connect({1: "tcp://127.0.0.1:9"})
        with none_left():
            one.send(1, "t", Packet())
            with pytest.raises(UsageError, match=r"connection to tcp://127.0.0.1:9.*ulimit -n"):
                one.recv("t", 1)


@pytest.mark.parametrize(
    ("shares_memory", "a_peer"),
    [
        (False, sockets.DESCRIPTORS_A_PEER),
        (True, sockets.DESCRIPTORS_A_PEER + ring.DESCRIPTORS_A_PEER),
    ],
    ids=["tcp", "ring"],
)
def test_a_peer_takes_as_many_as_is_said(shares_memory: bool, a_peer: int) -> None:
    learners = 5
    with team(learners, shares_memory=shares_memory) as members:
        before = descriptors.opened()
        body = torch.zeros(1_000_000)
        for member in members:
            for peer in range(learners):
                if peer != member.rank:
                    member.send(peer, "t", Packet(body=body))
        for member in members:
            for peer in range(learners):
                if peer != member.rank:
                    member.recv("t", peer)
        taken = descriptors.opened() - before
    ways = learners * (learners - 1)
    # The libraries open some of their own when they are first used.
    assert round(taken / ways) == a_peer


def test_zeromq_makes_more_sockets_than_it_does_by_default() -> None:
    with zmq.Context() as usual, sockets.context() as context:
        assert context.get(zmq.MAX_SOCKETS) > 3 * MANY > usual.get(zmq.MAX_SOCKETS)


@pytest.mark.parametrize(
    ("groups", "more"),
    [((), 0), ([Group("all", tuple(range(MANY))), Group("others", (1, 2))], 2 * (MANY - 1 + 4))],
    ids=["no groups", "groups"],
)
def test_a_run_and_the_doctor_say_what_is_too_low_before_anybody_connects(
    groups: Sequence[Group], more: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    launch = Launch(0, MANY, 0, 1)
    opened = descriptors.opened()
    with at_most(opened):
        harden(monkeypatch, opened + NEEDED + more - 40)
        said = lack_of_files(launch, groups)
        assert f"connects to {MANY - 1} others" in said
        assert "ulimit -n" in said
        assert host.files(launch, groups) == fail("open files", said)
        harden(monkeypatch, opened + NEEDED + more + 40)
        assert not lack_of_files(launch, groups)
        assert host.files(launch, groups).verdict is Verdict.OK
        assert soft() > opened + NEEDED + more
