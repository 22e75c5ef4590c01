"""How a frame goes through a ZeroMQ socket without waiting."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any, cast

import pytest
import zmq

from dualrt.real import sockets
from dualrt.real.wire import CHUNK_BYTES

PATIENCE_MS = 20_000
SILENCE_S = 20.0

Socket = zmq.Socket[bytes]


@pytest.fixture
def context() -> Iterator[zmq.Context[Socket]]:
    made: zmq.Context[Socket] = zmq.Context()
    yield made
    made.destroy(linger=0)


@pytest.fixture
def ends(context: zmq.Context[Socket]) -> tuple[Socket, Socket]:
    """A dealer and the router that it is connected to."""
    router = sockets.router(context)
    dealer, _ = sockets.dealer(context, sockets.bind(router, "127.0.0.1"), SILENCE_S)
    assert dealer.poll(PATIENCE_MS, zmq.POLLOUT)
    return dealer, router


@pytest.mark.parametrize(
    "sizes", [(1,), (3, 0), (3, 5), (100, zmq.COPY_THRESHOLD - 1), (100, zmq.COPY_THRESHOLD)]
)
def test_the_parts_of_a_frame_arrive_as_they_were_sent(
    ends: tuple[Socket, Socket], sizes: tuple[int, ...]
) -> None:
    dealer, router = ends
    sent = [bytes([place]) * size for place, size in enumerate(sizes)]
    for _ in range(2):
        assert sockets.offer(dealer, sent)
    for _ in range(2):
        assert router.poll(PATIENCE_MS)
        came = sockets.fetch(router)
        assert came is not None
        assert [bytes(part) for part in came[1:]] == sent
    assert sockets.fetch(router) is None


def test_a_frame_that_is_not_taken_leaves_no_part_behind(ends: tuple[Socket, Socket]) -> None:
    dealer, router = ends
    frames = 0
    # Nobody reads, so some time the socket takes no more.
    while sockets.offer(dealer, (b"%d" % frames, bytes(CHUNK_BYTES))):
        frames += 1
    for frame in range(frames):
        assert router.poll(PATIENCE_MS)
        came = sockets.fetch(router)
        assert came is not None
        _, number, data = came
        assert (bytes(number), len(data)) == (b"%d" % frame, CHUNK_BYTES)
    assert dealer.poll(PATIENCE_MS, zmq.POLLOUT)
    assert sockets.offer(dealer, (b"after",))
    assert router.poll(PATIENCE_MS)
    came = sockets.fetch(router)
    assert came is not None
    assert [bytes(part) for part in came[1:]] == [b"after"]


def test_nothing_is_received_in_vain() -> None:
    class Silent:
        """A socket that has nothing; to receive from it fails the test."""

        def getsockopt(self, option: int) -> int:
            assert option == zmq.EVENTS
            return int(zmq.POLLOUT)

    assert sockets.fetch(cast(Any, Silent())) is None


def test_a_monitor_tells_which_connection_was_made_and_that_it_broke(
    context: zmq.Context[Socket],
) -> None:
    router = sockets.router(context)
    address = sockets.bind(router, "127.0.0.1")
    dealer, monitor = sockets.dealer(context, address, SILENCE_S)
    with dealer, monitor:
        assert monitor.poll(PATIENCE_MS)
        (fd,) = sockets.changes(monitor)
        assert fd is not None
        with socket.socket(fileno=fd) as connection:
            assert f"tcp://127.0.0.1:{connection.getpeername()[1]}" == address
            connection.detach()
        assert list(sockets.changes(monitor)) == []
        router.close(linger=0)
        assert monitor.poll(PATIENCE_MS)
        assert next(sockets.changes(monitor)) is None
