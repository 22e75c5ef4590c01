"""What comes from who is not of the run, or no more: it is counted, and harms nothing."""

from __future__ import annotations

import os

import pytest
import torch

from dualrt.core.effects import Packet
from dualrt.core.errors import StalledError, UsageError
from dualrt.real.wire import (
    CHUNK_BYTES,
    MAX_HEADER_BYTES,
    Bye,
    Chunk,
    Credit,
    Hello,
    Share,
    Slots,
    encode,
)
from tests.support import commands
from tests.support.gossips import learner, stranger, team


def test_a_hello_to_a_port_with_a_new_owner_is_not_answered() -> None:
    early, other = learner(0, timeout_s=0.2), learner(2)
    with early, other:
        other.connect({0: early.address, 2: other.address})
        with pytest.raises(StalledError, match=r"learners \[1\]"):
            early.connect({0: early.address, 1: other.address}, greet=[1])
        assert commands.await_(lambda: other.counters["unknown"] > 0)


def test_learners_of_another_run_are_ignored() -> None:
    with team(2) as (a, b), learner(1, run_id="other") as foreign:
        with pytest.raises(UsageError, match="of another run"):
            foreign.connect({0: a.address}, greet=[0])
        assert commands.await_(lambda: a.counters["foreign"] > 0)
        b.send(0, "t", Packet(note="ours"))
        assert a.recv("t").packet.note == "ours"


def test_what_a_stranger_sends_is_counted_and_harms_nothing() -> None:
    body = torch.rand(3 * CHUNK_BYTES // 4)
    with team(2) as (a, b), stranger(b.address) as say:
        a.send(1, "t", Packet(note="before"))
        assert b.recv("t").packet.note == "before"
        malformed = [
            (b"",),
            (b"\xff" * 10,),
            (b"\x91" * 60_000,),
            (b"x" * (MAX_HEADER_BYTES + 1),),
            (b"x" * CHUNK_BYTES,),
            (encode(Bye("run", 0, 0)), b"", b""),
            (encode(Credit("run", 0, 2**62, 0)),),
            (encode(Slots("run", 0, 2**62, b"", 0)),),
        ]
        for parts in malformed:
            say(*parts)
        say(encode(Hello("other", 0, 1, 1)))
        say(encode(Hello("run", 9, 1, 1)))
        say(encode(Hello("run", 0, 1, 1)))
        say(encode(Chunk("run", 0, 2**62, 0, 5, 0)), b"stray")
        say(encode(Share("run", 0, 2**62, os.getpid(), 0, bytes(16), 0)))
        say(encode(Chunk("run", 0, 2**62, 0, 5, 0, b"", 3, 2**62)))
        assert commands.await_(lambda: b.counters["stray"] == 1)
        assert b.counters == {
            "malformed": len(malformed),
            "foreign": 1,
            "version": 0,
            "unknown": 1,
            "stale": 1,
            "corrupt": 1,
            "stray": 1,
            "unshared": 1,
            "refused": 0,
            "unreachable": 0,
        }
        b.send(0, "t", Packet(body=body))
        assert torch.equal(a.recv("t").packet.body, body)


def test_a_frame_beyond_every_limit_costs_the_stranger_its_connection() -> None:
    with team(2) as (a, b):
        with stranger(b.address) as say:
            say(b"x" * (4 * CHUNK_BYTES))
        a.send(1, "t", Packet(note="after"))
        assert b.recv("t").packet.note == "after"
        assert not any(b.counters.values())


def test_a_new_incarnation_is_heard_and_the_old_one_no_more() -> None:
    with team(2) as (a, b):
        a.send(1, "t", Packet(note="old"))
        assert b.recv("t").packet.note == "old"
        with learner(0) as again:
            again.connect({0: again.address, 1: b.address})
            again.send(1, "t", Packet(note="new"))
            assert b.recv("t").packet.note == "new"
            a.send(1, "t", Packet(note="ghost"))
            assert commands.await_(lambda: b.counters["stale"] > 0)
            again.send(1, "t", Packet(note="newer"))
            assert b.recv("t").packet.note == "newer"
