"""Reaching the store of a launch: who serves it, what is in the way, and that a signal ends it."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator

import pytest
from torch.distributed import TCPStore

from dualrt.core.errors import StalledError
from dualrt.real.rendezvous import Launch, Rendezvous
from dualrt.real.store import Place, reached
from tests.support.commands import await_

HOST = "127.0.0.1"
PATIENCE_S = 30.0
"""For what takes a moment on a machine that is not busy."""


@pytest.fixture
def held() -> Iterator[socket.socket]:
    """A port that is nobody else's, and at which nobody listens."""
    with socket.socket() as kept:
        kept.bind((HOST, 0))
        yield kept


@pytest.fixture
def port(held: socket.socket, monkeypatch: pytest.MonkeyPatch) -> int:
    """The same, where this launch's processes are to meet."""
    port = int(held.getsockname()[1])
    monkeypatch.delenv("TORCHELASTIC_USE_AGENT_STORE", raising=False)
    monkeypatch.setenv("MASTER_ADDR", HOST)
    monkeypatch.setenv("MASTER_PORT", str(port))
    return port


def met(rank: int, timeout_s: float) -> Rendezvous:
    return Rendezvous(Launch(rank, 2, rank, 2), timeout_s)


def test_a_store_that_is_not_there_is_named_with_what_the_network_says(port: int) -> None:
    said = rf"learner 1 cannot reach .* 127\.0\.0\.1:{port}: .*refused, after 0\.2 s\. See"
    with pytest.raises(StalledError, match=said):
        met(1, timeout_s=0.2)


def test_who_listens_there_and_says_nothing_is_not_waited_for_without_end(
    held: socket.socket, port: int
) -> None:
    held.listen()
    said = rf"127\.0\.0\.1:{port}: what listens there does not answer .*, after 0\.5 s\. See"
    with pytest.raises(StalledError, match=said):
        met(1, timeout_s=0.5)


def test_learner_0_says_that_another_program_has_its_port(held: socket.socket, port: int) -> None:
    held.listen()
    said = rf"learner 0 cannot serve the rendezvous at 127\.0\.0\.1:{port}: .*another port"
    with pytest.raises(StalledError, match=said):
        met(0, timeout_s=5.0)


def test_a_store_is_reached_once_and_again_only_when_it_has_gone() -> None:
    served = [TCPStore(HOST, 0, is_master=True, wait_for_workers=False)]
    place = Place(None, HOST, served[0].port, serves=False)
    first = reached(place, PATIENCE_S)
    assert reached(place, PATIENCE_S) is first
    served.clear()
    served.append(TCPStore(HOST, place.port, is_master=True, wait_for_workers=False))
    again = reached(place, PATIENCE_S)
    assert again is not first
    assert again.answers()
    assert not first.answers()


def test_a_signal_ends_the_wait_for_a_store(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(address: tuple[str, int], timeout_s: float) -> socket.socket:
        os.kill(os.getpid(), signal.SIGINT)
        raise ConnectionRefusedError(f"{address}, {timeout_s}")

    monkeypatch.setattr(socket, "create_connection", refused)
    with pytest.raises(KeyboardInterrupt):
        met(1, timeout_s=PATIENCE_S)


def test_a_signal_ends_the_wait_for_another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the library it would be heard when the other has come."""
    served = TCPStore(HOST, 0, is_master=True, wait_for_workers=False)
    monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", "True")
    monkeypatch.setenv("MASTER_ADDR", HOST)
    monkeypatch.setenv("MASTER_PORT", str(served.port))
    meetings = [met(rank, timeout_s=10_000.0) for rank in range(2)]
    keys, heard, told = served.num_keys(), threading.Event(), threading.Event()

    def interrupt() -> None:
        await_(lambda: served.num_keys() > keys)
        os.kill(os.getpid(), signal.SIGINT)
        if not heard.wait(PATIENCE_S):
            told.set()
            meetings[1].tell("keys", "none")

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        meetings[0].exchange("keys", "none")
    heard.set()
    thread.join()
    assert not told.is_set()
