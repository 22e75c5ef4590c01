"""What is sent in one round leaves the host when that of earlier rounds has left it."""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
import torch

from dualrt.core.effects import Packet
from dualrt.core.errors import StalledError
from dualrt.real.gossip import Gossip
from tests.support.gossips import MAX_BODY_BYTES, PATIENCE_S, learner

BODY = torch.ones(MAX_BODY_BYTES // 4)
"""Far more than the kernel and ZeroMQ take for a peer that does not read."""

NOT_LONG_S = 0.3
"""What crosses the loopback if it may is there by then, but on the slowest of machines."""

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="Linux has addresses 127.0.0.*, and tells what was taken"
)


@contextmanager
def hosts(number: int) -> Iterator[list[Gossip]]:
    """A learner on each of so many hosts, by their addresses; the first has greeted the others."""
    with ExitStack() as stack:
        members = [
            stack.enter_context(
                learner(rank, interface=f"127.0.0.{rank + 1}", silence_s=PATIENCE_S)
            )
            for rank in range(number)
        ]
        addresses = {member.rank: member.address for member in members}
        for member in members[1:]:
            member.connect(addresses)
        members[0].connect(addresses, greet=range(1, number))
        yield members


@contextmanager
def reads_nothing(member: Gossip) -> Iterator[None]:
    """Its courier does nothing while this lasts."""
    begun, over = threading.Event(), threading.Event()

    def wait() -> None:
        begun.set()
        over.wait(PATIENCE_S)

    member._courier.post(wait)
    assert begun.wait(PATIENCE_S)
    try:
        yield
    finally:
        over.set()


@pytest.mark.parametrize("rounds", [(0, 1), (7, 9)])
def test_a_later_round_waits_until_a_slow_receiver_has_taken_the_earlier_one(
    rounds: tuple[int, int],
) -> None:
    with hosts(3) as (sender, slow, quick):
        with reads_nothing(slow):
            sender.send(1, "t", Packet(body=BODY), round_=rounds[0])
            sender.send(2, "t", Packet(body=BODY), round_=rounds[1])
            with pytest.raises(StalledError):
                quick.recv("t", timeout_s=NOT_LONG_S)
        assert slow.recv("t").packet.body is not None
        assert quick.recv("t").packet.body is not None


@pytest.mark.parametrize("rounds", [(0, 0), (None, None), (0, None), (None, 0)])
def test_nothing_else_waits(rounds: tuple[int | None, int | None]) -> None:
    with hosts(3) as (sender, slow, quick):
        with reads_nothing(slow):
            sender.send(1, "t", Packet(body=BODY), round_=rounds[0])
            sender.send(2, "t", Packet(body=BODY), round_=rounds[1])
            assert quick.recv("t").packet.body is not None
        assert slow.recv("t").packet.body is not None


def test_a_last_word_waits_behind_no_body_whose_turn_has_not_come() -> None:
    with hosts(3) as (sender, slow, quick), reads_nothing(slow):
        sender.send(1, "t", Packet(body=BODY), round_=0)
        sender.send(2, "t", Packet(body=BODY), round_=1)
        sender.send(2, "why", Packet(note="no more"))
        sender.close()
        assert quick.recv("why").packet.note == "no more"


def test_a_receiver_that_is_gone_holds_up_nobody() -> None:
    with hosts(3) as (sender, gone, quick):
        with reads_nothing(gone):
            sender.send(1, "t", Packet(body=BODY), round_=0)
            sender.send(2, "t", Packet(body=BODY), round_=1)
        gone.close()
        assert quick.recv("t").packet.body is not None


def test_who_has_a_connection_and_has_not_answered_holds_up_nobody() -> None:
    with (
        socket.create_server(("127.0.0.9", 0)) as mute,
        learner(0, silence_s=PATIENCE_S) as sender,
        learner(2, interface="127.0.0.3", silence_s=PATIENCE_S) as quick,
    ):
        addresses = {
            0: sender.address,
            1: f"tcp://127.0.0.9:{mute.getsockname()[1]}",
            2: quick.address,
        }
        quick.connect(addresses)
        sender.connect(addresses, greet=[2])
        courier = sender._courier
        courier.post(lambda: courier.greet(1))
        connection, _ = mute.accept()
        with connection:
            while courier._links[1].connection is None:
                time.sleep(0.001)
            sender.send(1, "t", Packet(body=BODY), round_=0)
            sender.send(2, "t", Packet(body=BODY), round_=1)
            assert quick.recv("t").packet.body is not None


def test_many_rounds_arrive_in_order_and_whole() -> None:
    with hosts(3) as members:
        for round_ in range(20):
            for member in members:
                for peer in {0, 1, 2} - {member.rank}:
                    body = torch.full((50_000,), float(round_))
                    member.send(peer, "t", Packet(body=body), round_=round_)
            for member in members:
                for peer in {0, 1, 2} - {member.rank}:
                    body = member.recv("t", peer).packet.body
                    assert torch.equal(body, torch.full((50_000,), float(round_)))
