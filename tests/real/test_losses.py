"""A peer whose process is killed is lost at once, and one that is started again is found."""

from __future__ import annotations

import multiprocessing
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess

import pytest
import torch

from dualrt.core.effects import Packet
from dualrt.core.errors import Loss, PeerLostError
from dualrt.real.gossip import Gossip

PATIENCE_S = 40.0
BODY = torch.arange(300_000.0)
"""Large enough for shared memory."""


def learner(rank: int, *, newcomer: bool = False) -> Gossip:
    return Gossip(
        rank, run_id="run", timeout_s=PATIENCE_S, max_body_bytes=2_000_000, newcomer=newcomer
    )


def answer(rank: int, pipe: Connection, *, newcomer: bool) -> None:
    """What another process does: answer until it is killed."""
    with learner(rank, newcomer=newcomer) as gossip:
        pipe.send(gossip.address)
        gossip.connect(pipe.recv(), greet=[0])
        while True:
            asked = gossip.recv("ask").packet
            gossip.send(0, "answer", Packet(body=asked.body, note=asked.note))


@contextmanager
def answering(
    rank: int, addresses: dict[int, str], *, newcomer: bool = False
) -> Iterator[SpawnProcess]:
    """Another process; it knows `addresses` and adds its own."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=answer, args=(rank, theirs), kwargs={"newcomer": newcomer})
    process.start()
    try:
        address = ours.recv()
        addresses.setdefault(rank, address)
        ours.send({**addresses, rank: address})
        yield process
    finally:
        process.kill()
        process.join()


@pytest.fixture
def first() -> Iterator[Gossip]:
    with learner(0) as gossip:
        yield gossip


def asks(gossip: Gossip, note: int) -> object:
    gossip.send(1, "ask", Packet(body=BODY, note=note))
    packet = gossip.recv("answer", 1).packet
    assert torch.equal(packet.body, BODY)
    return packet.note


def test_a_killed_peer_is_lost_at_once_and_found_when_it_is_started_again(
    first: Gossip, caplog: pytest.LogCaptureFixture
) -> None:
    told: queue.SimpleQueue[tuple[int, str | None]] = queue.SimpleQueue()
    first.watch(lambda peer, why: told.put((peer, why)))
    addresses = {0: first.address}
    with answering(1, addresses) as process:
        first.connect(addresses, greet=[1])
        assert [asks(first, note) for note in range(3)] == [0, 1, 2]
        waits = threading.Timer(0.2, process.kill)
        waits.start()
        with pytest.raises(PeerLostError, match="its connection broke") as lost:
            first.recv("answer", 1)
        waits.join()
        assert lost.value.loss is Loss.NOTICED
    assert told.get(timeout=PATIENCE_S) == (1, "its connection broke")
    assert first.lost == {1}
    # Any number of large messages, for none of which there would be room.
    for note in range(20):
        first.send(1, "ask", Packet(body=BODY, note=note))
    with pytest.raises(PeerLostError) as lost:
        first.recv("answer", 1)
    assert lost.value.loss is Loss.KNOWN
    with answering(1, addresses, newcomer=True):
        assert told.get(timeout=PATIENCE_S) == (1, None)
        assert first.lost == frozenset()
        # More than the window, which what the killed one had been sent takes no part of.
        assert [asks(first, note) for note in range(7, 17)] == list(range(7, 17))
    assert first.finish(PATIENCE_S) == frozenset()
    assert [
        (record.__dict__["event"], record.__dict__["rank"], record.getMessage())
        for record in caplog.records[:2]
    ] == [
        ("peer_lost", 0, "learner 0 has lost learner 1: its connection broke"),
        ("peer_found", 0, "learner 0 has found learner 1 again"),
    ]


def test_a_newcomer_does_not_wait_for_who_is_gone(first: Gossip) -> None:
    first.close()
    with learner(1, newcomer=True) as newcomer:
        newcomer.connect({0: first.address, 1: newcomer.address})
        newcomer.send(0, "ask", Packet())
        with pytest.raises(PeerLostError, match="does not answer"):
            newcomer.recv("answer", 0)
