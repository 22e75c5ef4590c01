"""A peer fades before it is lost, and whoever has to know is told of each that is lost or found."""

from __future__ import annotations

import math

import pytest

from dualrt.core.errors import PeerLostError, StalledError
from dualrt.real.mailbox import Mailbox
from dualrt.real.presence import BROKE, FADE_S, Presence
from dualrt.real.roster import Roster

Told = list[tuple[int, str | None]]


class Peers:
    """Learners 1 and 2, as learner 0 sees them."""

    def __init__(self) -> None:
        self.mailbox, self.roster, self.told = Mailbox(), Roster(1000), Told()
        self.roster.enrol([1, 2])
        self.presence = Presence(self.mailbox, self.roster, lambda *told: self.told.append(told))

    def end_of_a_wait(self, peer: int) -> str:
        """What a wait for this peer, which has sent nothing, ends with."""
        with pytest.raises((PeerLostError, StalledError)) as raised:
            self.mailbox.get("t", peer, 0)
        return str(raised.value)


@pytest.fixture
def peers() -> Peers:
    return Peers()


def test_one_whose_connection_broke_is_lost_after_a_while(peers: Peers) -> None:
    peers.presence.fade(1, 100.0)
    assert peers.presence.due_s == 100.0 + FADE_S
    peers.presence.look(100.0)
    assert not peers.presence.lost(1)
    peers.presence.look(peers.presence.due_s)
    assert peers.presence.lost(1)
    assert not peers.presence.lost(2)
    assert peers.told == [(1, BROKE)]
    assert peers.roster.lost == {1}
    assert peers.end_of_a_wait(1) == f"learner 1 is lost: {BROKE}"
    assert "within" in peers.end_of_a_wait(2)
    assert peers.presence.due_s == math.inf


def test_breaking_again_meanwhile_puts_nothing_off(peers: Peers) -> None:
    peers.presence.fade(1, 100.0)
    peers.presence.fade(1, 100.0 + FADE_S / 2)
    assert peers.presence.due_s == 100.0 + FADE_S


def test_one_that_is_back_before_it_was_missed_has_lost_what_was_under_way(peers: Peers) -> None:
    peers.presence.fade(1, 100.0)
    assert peers.presence.find(1)
    assert peers.told == [(1, BROKE), (1, None)]
    assert peers.roster.lost == frozenset()
    peers.presence.look(math.inf)
    assert not peers.presence.lost(1)


def test_one_that_answers_in_time_was_never_lost(peers: Peers) -> None:
    peers.presence.expect(1, 100.0, "it does not answer")
    assert not peers.presence.find(1)
    peers.presence.look(math.inf)
    assert peers.told == []


def test_one_that_does_not_is_lost_then_and_says_why(peers: Peers) -> None:
    peers.presence.expect(1, 100.0, "it does not answer")
    peers.presence.look(99.0)
    peers.presence.look(100.0)
    assert peers.told == [(1, "it does not answer")]
    assert peers.end_of_a_wait(1) == "learner 1 is lost: it does not answer"


def test_the_lost_are_lost_once_and_do_not_fade(peers: Peers) -> None:
    peers.presence.lose(1, "it was started again")
    peers.presence.lose(1, BROKE)
    peers.presence.fade(1, 100.0)
    assert peers.told == [(1, "it was started again")]
    assert peers.presence.due_s == math.inf


def test_one_that_is_found_can_be_lost_again(peers: Peers) -> None:
    peers.presence.lose(1, BROKE)
    assert peers.presence.find(1)
    assert "within" in peers.end_of_a_wait(1)
    peers.presence.lose(1, "it was started again")
    assert peers.told == [(1, BROKE), (1, None), (1, "it was started again")]
