"""What the kernel tells of a connection."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dualrt.real.tcp import Progress, progress

PATIENCE_S = 20.0
SENT_BYTES = 100_000

linux = pytest.mark.skipif(sys.platform != "linux", reason="Linux tells it")


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as sender,
        server.accept()[0] as receiver,
    ):
        yield sender, receiver


def of(end: socket.socket) -> Progress:
    seen = progress(end.fileno())
    assert seen is not None
    return seen


@linux
def test_it_tells_what_the_other_end_has_taken(ends: tuple[socket.socket, socket.socket]) -> None:
    sender, receiver = ends
    before_bytes = of(sender).acked_bytes
    sender.sendall(bytes(SENT_BYTES))
    due_s = time.monotonic() + PATIENCE_S
    while of(sender).acked_bytes < before_bytes + SENT_BYTES and time.monotonic() < due_s:
        time.sleep(0.001)
    seen = of(sender)
    assert seen.acked_bytes == before_bytes + SENT_BYTES
    assert 0 < seen.min_rtt_s < PATIENCE_S
    assert seen.bytes_per_s > SENT_BYTES / PATIENCE_S
    assert seen.in_flight_bytes == 0
    # It has taken them, though nobody has read them.
    assert len(receiver.recv(SENT_BYTES, socket.MSG_WAITALL)) == SENT_BYTES


@linux
def test_a_connection_on_which_nothing_was_sent_is_at_its_beginning(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    seen = of(ends[0])
    assert seen.acked_bytes < SENT_BYTES
    assert seen.min_rtt_s < PATIENCE_S


def test_what_is_no_connection_tells_nothing(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w") as file:
        assert progress(file.fileno()) is None
        # It is still there.
        os.fstat(file.fileno())
        fd = file.fileno()
    assert progress(fd) is None
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        assert progress(datagrams.fileno()) is None


@linux
def test_looking_neither_closes_nor_keeps_a_connection(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    sender, receiver = ends
    of(sender)
    sender.sendall(b"still there")
    assert receiver.recv(100) == b"still there"
    of(sender)
    sender.close()
    assert receiver.recv(100) == b""


@linux
def test_a_kernel_that_fills_in_zeros_tells_nothing(
    ends: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    sender, _ = ends
    fd = sender.fileno()
    with monkeypatch.context() as patched:
        patched.setattr(socket.socket, "getsockopt", lambda *_: bytes(168))
        assert progress(fd) is None
    assert progress(fd) is not None


def test_elsewhere_nothing_is_told(
    ends: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert progress(ends[0].fileno()) is None
