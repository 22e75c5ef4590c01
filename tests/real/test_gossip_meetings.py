"""How learners find each other: who is there already, who comes later, and at which address."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest
import torch
import zmq

from dualrt.core.effects import Packet
from dualrt.core.errors import StalledError, UsageError
from dualrt.real import sockets
from dualrt.real.gossip import Gossip
from tests.support.gossips import PATIENCE_S, learner, team


def test_messages_to_a_learner_that_does_not_listen_yet_wait_for_it() -> None:
    early, late = learner(0), learner(1)
    with early, late:
        addresses = {0: early.address, 1: late.address}
        early.connect(addresses)
        for note in range(40):
            early.send(1, "t", Packet(note=note))
        with pytest.raises(StalledError):
            late.recv("t", timeout_s=0.1)
        late.connect(addresses)
        assert [late.recv("t").packet.note for _ in range(40)] == list(range(40))


def test_messages_to_a_learner_that_is_not_there_yet_wait_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"

    def bind_there(router: zmq.Socket[bytes], _: str, *__: object) -> str:
        router.bind(address)
        return address

    with learner(0) as early:
        addresses = {0: early.address, 1: address}
        early.connect(addresses)
        early.send(1, "t", Packet(note="early", body=torch.ones(1_000_000)))
        monkeypatch.setattr(sockets, "bind", bind_there)
        with learner(1) as late:
            late.connect(addresses)
            assert late.recv("t", 0).packet.note == "early"


def test_connect_waits_for_those_it_greets() -> None:
    early, late = learner(0), learner(1)
    with ThreadPoolExecutor(1) as pool, early, late:
        addresses = {0: early.address, 1: late.address}
        greeting = pool.submit(early.connect, addresses, greet=[0, 1])
        late.connect(addresses)
        greeting.result(PATIENCE_S)


def test_connect_names_those_who_do_not_answer() -> None:
    early, late = learner(0, timeout_s=0.2), learner(1)
    with early, late, pytest.raises(StalledError, match=r"learners \[1\]"):
        early.connect({0: early.address, 1: late.address}, greet=[1])


def test_the_address_is_that_of_the_interface() -> None:
    with Gossip(0, run_id="run", timeout_s=5, interface="lo", max_body_bytes=0) as named:
        parts = urlsplit(named.address)
        assert (parts.scheme, parts.hostname) == ("tcp", "127.0.0.1")
        assert parts.port


@pytest.mark.parametrize("interface", ["no-such-interface", "203.0.113.1", "0.0.0.0", "*"])
def test_an_interface_that_cannot_be_bound_is_a_usage_error(interface: str) -> None:
    with pytest.raises(UsageError, match="name an address or a network interface"):
        Gossip(0, run_id="run", timeout_s=5, interface=interface, max_body_bytes=0)


@pytest.mark.parametrize("address", ["127.0.0.1:80", "tcp://127.0.0.1", "ipc:///tmp/x", ""])
def test_what_is_no_address_is_a_usage_error(address: str) -> None:
    with learner(0) as a, pytest.raises(UsageError, match="write tcp://ip:port"):
        a.connect({1: address})


def test_a_peer_that_is_not_in_the_run_is_a_usage_error() -> None:
    with team(2) as (a, _), pytest.raises(UsageError, match="no learner 5"):
        a.send(5, "t", Packet())
