"""Learners listen within the range that a firewall lets through, or say that it is used up."""

from __future__ import annotations

import os
import queue
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from urllib.parse import urlsplit

import pytest
import torch

from dualrt.core.effects import Group, Packet
from dualrt.core.errors import UsageError
from dualrt.real.collectives import Collectives
from dualrt.real.gossip import Gossip
from dualrt.real.ports import ANY, in_turn
from dualrt.real.process_groups import GLOO, ProcessGroups
from tests.support import commands

FIRST = 20_000 + os.getpid() % 1_000 * 10
"""Below those that systems give away, and this process's own."""

PORTS = range(FIRST, FIRST + 4)
OTHER_PORTS = range(FIRST + 4, FIRST + 8)
"""A store is served until somebody collects it."""


@contextmanager
def taken(ports: range) -> Iterator[None]:
    """Somebody else listens there."""
    with ExitStack() as stack:
        for port in ports:
            stack.enter_context(socket.create_server(("127.0.0.1", port)))
        yield


def learner(rank: int, ports: range = PORTS) -> Gossip:
    return Gossip(rank, run_id="run", timeout_s=20.0, max_body_bytes=1_000, ports=ports)


def port_of(gossip: Gossip) -> int:
    return urlsplit(gossip.address).port or 0


def test_each_rank_begins_elsewhere_and_tries_all() -> None:
    assert list(in_turn(range(7, 10), 0)) == [7, 8, 9]
    assert list(in_turn(range(7, 10), 5)) == [9, 7, 8]
    assert list(in_turn(ANY, 5)) == [0]


def test_a_learner_listens_at_the_port_of_its_rank() -> None:
    with learner(0) as a, learner(1) as b, learner(6) as c:
        assert [port_of(one) - FIRST for one in (a, b, c)] == [0, 1, 2]


def test_a_port_that_is_taken_is_passed_over_and_learners_find_each_other() -> None:
    with taken(PORTS[1:3]), learner(1) as a, learner(5) as b:
        assert [port_of(one) - FIRST for one in (a, b)] == [3, 0]
        addresses = {1: a.address, 5: b.address}
        a.connect(addresses)
        b.connect(addresses)
        a.send(5, "t", Packet(note="there"))
        assert b.recv("t").packet.note == "there"


def test_a_range_that_is_used_up_is_named_with_what_to_do() -> None:
    said = rf"ports {FIRST}-{FIRST + 3} of '127.0.0.1'.*in use.*real\.ports"
    with taken(PORTS), pytest.raises(UsageError, match=said):
        learner(0)


def test_the_store_of_a_group_that_is_formed_later_is_within_the_range() -> None:
    told: queue.SimpleQueue[int] = queue.SimpleQueue()
    used: list[int] = []

    def introduce(_: Group, port: int | None) -> str:
        if port is not None:
            told.put(port)
            return ""
        used.append(told.get(timeout=20.0))
        return f"127.0.0.1:{used[0]}"

    def mean(rank: int) -> float:
        groups = ProcessGroups(
            rank,
            device=torch.device("cpu"),
            library=GLOO,
            timeout_s=20.0,
            max_body_bytes=1_000,
            interface="127.0.0.1",
            ports=OTHER_PORTS,
            introduce=introduce,
        )
        with closing(Collectives(groups)) as members:
            vector = torch.tensor([float(rank)])
            return members.allreduce(Group("pair", (0, 1)), vector, spent=True).item()

    with taken(OTHER_PORTS[:2]), ThreadPoolExecutor(2) as threads:
        assert list(threads.map(mean, range(2))) == [0.5, 0.5]
    assert used[0] in OTHER_PORTS[2:]


def test_a_run_whose_range_is_used_up_is_refused() -> None:
    with taken(PORTS):
        done = commands.run(
            "train",
            "quadratic-sd-psgd",
            "--local",
            "2",
            *commands.settings(f"real.ports={FIRST}-{FIRST + 3}"),
        )
    assert (done.returncode, done.stdout) == (2, "")
    assert f"none of the ports {FIRST}-{FIRST + 3}" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_range_with_fewer_ports_than_learners_is_refused() -> None:
    few = commands.settings(f"real.ports={FIRST}-{FIRST}", "learners=1")
    env = {"RANK": "0", "WORLD_SIZE": "4", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
    done = commands.run("train", "quadratic-sd-psgd", *few, env=env)
    assert (done.returncode, done.stdout) == (2, "")
    assert "real.ports" in done.stderr
    assert "1 ports, and 4 learners" in done.stderr
