"""The ZeroMQ sockets: how they are made, and how a frame goes through one without waiting.

Owns every socket option, each with its reason. Must not know what the frames mean.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterator, Sequence
from typing import cast

import zmq
import zmq.utils.z85

from dualrt.core.errors import UsageError
from dualrt.real import descriptors
from dualrt.real.keys import Keys
from dualrt.real.ports import ANY, in_turn, none_left
from dualrt.real.wire import CHUNK_BYTES, MAX_HEADER_BYTES, Buffer
from dualrt.real.word import Word

IO_THREADS = 1
"""ZeroMQ's own threads, which move the bytes that go through sockets: one carries about 3 GB/s."""

BULK_HWM_FRAMES = 8
"""Frames that ZeroMQ may hold for one peer in the direction of the messages: 8 MiB keep the wire
busy while the courier does something else. What is beyond waits where its memory is counted."""

REPLY_HWM_FRAMES = 1024
"""The same for the direction of the replies, which are small, and few: a window is told in
quarters."""

RECONNECT_MS, RECONNECT_MAX_MS = 20, 500
"""A peer that is not there yet is tried again soon, and less often the longer it is away."""

SILENCE_LEAST_S = 1.0
"""A connection is never given up for a shorter silence: a busy machine may keep a thread off its
cores for some tenths of a second."""


ZAP_ENDPOINT = "inproc://zeromq.zap.01"
"""Where ZeroMQ asks whether a client may connect (rfc.zeromq.org/spec/27)."""

READABLE, WRITABLE = int(zmq.POLLIN), int(zmq.POLLOUT)
"""Of what a poll or a socket tells, as plain numbers: two enums take 0.6 us to be compared, and
that four times for each message."""

_EVENT = struct.Struct("=hi")
"""How a monitor tells what happened, and to which file descriptor."""

_EVENTS, _NOBLOCK = int(zmq.EVENTS), int(zmq.NOBLOCK)
_NOBLOCK_MORE = _NOBLOCK | int(zmq.SNDMORE)

_NAME = b"dualrt"
"""Who says a word; all learners have one."""

CURVE_BYTES = 64
"""More than encryption adds to a frame: 33 bytes."""

DESCRIPTORS_A_PEER = 5
"""Of the socket that sends to it and both ends of the monitor one each, and two connections."""


def context() -> zmq.Context[zmq.Socket[bytes]]:
    """What all sockets of a learner are made in: as many as ZeroMQ can have, 65,535.

    A peer takes three, and by default there may be 1,023. Room for one is 12 bytes.
    """
    made: zmq.Context[zmq.Socket[bytes]] = zmq.Context(io_threads=IO_THREADS)
    made.set(zmq.MAX_SOCKETS, made.get(zmq.SOCKET_LIMIT))
    return made


def doorkeeper(context: zmq.Context[zmq.Socket[bytes]]) -> zmq.Socket[bytes]:
    """The socket on which ZeroMQ asks, for each client of a ROUTER with keys, whether to let it in.

    To be made before the ROUTER is bound: without one, ZeroMQ lets everybody in.
    """
    made = context.socket(zmq.REP)
    made.set(zmq.LINGER, 0)
    made.bind(ZAP_ENDPOINT)
    return made


def refused(asking: zmq.Socket[bytes], keys: Keys | Word) -> str | None:
    """Answer one question, if there is one: only who has the run's keys, or its word, comes in.

    Returns the address of one who was refused.
    """
    asked = fetch(asking)
    if asked is None:
        return None
    version, request, _, address, _, mechanism, *credentials = asked
    said = bytes(mechanism), [bytes(one) for one in credentials]
    if isinstance(keys, Word):
        welcome = said == (b"PLAIN", [_NAME, keys.text])
    else:
        # Of a client's key, ZeroMQ has made sure that it has the secret half.
        welcome = said == (b"CURVE", [zmq.utils.z85.decode(keys.public)])
    status = (b"200", b"welcome") if welcome else (b"400", b"not of this run")
    asking.send_multipart((bytes(version), bytes(request), *status, b"", b""))
    return None if welcome else bytes(address).decode("ascii", "replace")


def router(
    context: zmq.Context[zmq.Socket[bytes]], keys: Keys | Word | None = None
) -> zmq.Socket[bytes]:
    """The socket on which a learner hears all others; with `keys`, those that have them too."""
    made = _socket(context, zmq.ROUTER)
    if isinstance(keys, Word):
        made.set(zmq.PLAIN_SERVER, 1)
    elif keys is not None:
        made.set(zmq.CURVE_SERVER, 1)
        made.set(zmq.CURVE_SECRETKEY, keys.secret)
        made.set(zmq.CURVE_PUBLICKEY, keys.public)
    made.set(zmq.RCVHWM, BULK_HWM_FRAMES)
    made.set(zmq.SNDHWM, REPLY_HWM_FRAMES)
    # A reply to a connection that is gone is an error, which can be counted, and not silence.
    made.set(zmq.ROUTER_MANDATORY, 1)
    return made


def dealer(
    context: zmq.Context[zmq.Socket[bytes]],
    address: str,
    silence_s: float,
    keys: Keys | Word | None = None,
) -> tuple[zmq.Socket[bytes], zmq.Socket[bytes]]:
    """The socket through which a learner sends to the one at `address`, who has the same `keys`.

    With it comes a monitor, which can be read, with `changes`, whenever a connection is made or
    breaks. One that is silent for `silence_s` breaks. ZeroMQ's own threads send and answer the
    heartbeats, so a learner that computes, or that Python keeps waiting, does not seem dead.
    """
    try:
        made = _socket(context, zmq.DEALER)
        # Before the first connection is made, or it would not tell of it.
        monitor = made.get_monitor_socket(zmq.EVENT_CONNECTED | zmq.EVENT_DISCONNECTED)
    except zmq.ZMQError as error:
        if error.errno not in {errno.EMFILE, errno.ENFILE}:
            raise
        opened, (limit, _) = descriptors.opened(), descriptors.limits()
        needed = max(opened, int(limit)) + DESCRIPTORS_A_PEER
        raise descriptors.too_few(f"a connection to {address}", needed, limit) from error
    if isinstance(keys, Word):
        made.set(zmq.PLAIN_USERNAME, _NAME)
        made.set(zmq.PLAIN_PASSWORD, keys.text)
    elif keys is not None:
        made.set(zmq.CURVE_SERVERKEY, keys.public)
        made.set(zmq.CURVE_SECRETKEY, keys.secret)
        made.set(zmq.CURVE_PUBLICKEY, keys.public)
    made.set(zmq.SNDHWM, BULK_HWM_FRAMES)
    made.set(zmq.RCVHWM, REPLY_HWM_FRAMES)
    # Without a connection nothing is accepted: a frame given to a socket that never connects
    # would be neither sent nor ours any more.
    made.set(zmq.IMMEDIATE, 1)
    made.set(zmq.RECONNECT_IVL, RECONNECT_MS)
    made.set(zmq.RECONNECT_IVL_MAX, RECONNECT_MAX_MS)
    silence_ms = round(1000 * max(silence_s, SILENCE_LEAST_S))
    made.set(zmq.HEARTBEAT_IVL, max(1, silence_ms // 2))
    made.set(zmq.HEARTBEAT_TIMEOUT, max(1, silence_ms // 2))
    # What would be tried anew for minutes, when the way is open again for long.
    made.set(zmq.CONNECT_TIMEOUT, silence_ms)
    made.connect(address)
    return made, monitor


def changes(monitor: zmq.Socket[bytes]) -> Iterator[int | None]:
    """What a monitor tells: of each connection made its file descriptor, of each break None."""
    while (parts := fetch(monitor)) is not None:
        event, fd = _EVENT.unpack(parts[0])
        yield fd if event == zmq.EVENT_CONNECTED else None


def bind(socket: zmq.Socket[bytes], interface: str, ports: range = ANY, rank: int = 0) -> str:
    """Bind to one of the ports, and hold it; returns the address for the peers.

    A port that is looked for first and bound later may be somebody else's by then.
    Raises `UsageError` if the interface does not exist, or is no single one, or no port is left.
    """
    if interface in {"*", "0.0.0.0"}:
        raise UsageError(
            f"real.interface = {interface!r}: that is all of them, and peers must be told one; "
            "name an address or a network interface of this host"
        )
    held: zmq.ZMQError | None = None
    for port in in_turn(ports, rank):
        try:
            socket.bind(f"tcp://{interface}:{port or '*'}")
        except zmq.ZMQError as error:
            if not ports or error.errno not in {zmq.EADDRINUSE, errno.EACCES}:
                raise UsageError(
                    f"real.interface = {interface!r} cannot be bound ({_why(error)}); "
                    "name an address or a network interface of this host"
                ) from error
            held = error
        else:
            return socket.get_string(zmq.LAST_ENDPOINT)
    assert held is not None
    raise none_left(ports, interface, _why(held)) from held


def _why(error: zmq.ZMQError) -> str:
    """What the system says, without the address that pyzmq adds."""
    return zmq.strerror(error.errno or 0)


def offer(socket: zmq.Socket[bytes], parts: Sequence[Buffer]) -> bool:
    """Send a frame if the socket takes it now; returns whether it did. Copies no large chunk."""
    *before, last = parts
    # pyzmq copies what is small all the same, and makes objects for it besides.
    small = len(last) < zmq.COPY_THRESHOLD
    try:
        # ZeroMQ takes all parts of a frame or, at the first, none.
        for part in before:
            socket.send(part, _NOBLOCK_MORE)
        socket.send(last, _NOBLOCK, copy=small)
    except zmq.Again:
        return False
    return True


def reply(socket: zmq.Socket[bytes], route: Buffer, header: bytes) -> bool:
    """Send a frame back along a connection of a ROUTER; returns whether there was a way."""
    try:
        socket.send_multipart((route, header), zmq.NOBLOCK)
    except zmq.ZMQError as error:
        if error.errno not in {zmq.EAGAIN, zmq.EHOSTUNREACH}:
            raise
        return False
    return True


def fetch(socket: zmq.Socket[bytes]) -> list[memoryview] | None:
    """The parts of the next frame, in ZeroMQ's own memory, or None if there is none now."""
    # To try in vain gives the interpreter's lock away, which a thread that computes then takes.
    if not cast(int, socket.getsockopt(_EVENTS)) & READABLE:
        return None
    part = socket.recv(_NOBLOCK, copy=False)
    parts = [part.buffer]
    while part.more:
        part = socket.recv(_NOBLOCK, copy=False)
        parts.append(part.buffer)
    return parts


def _socket(context: zmq.Context[zmq.Socket[bytes]], kind: zmq.SocketType) -> zmq.Socket[bytes]:
    made = context.socket(kind)
    # Of each part. Whoever sends more is disconnected before the memory for it is allocated.
    made.set(zmq.MAXMSGSIZE, max(CHUNK_BYTES, MAX_HEADER_BYTES) + CURVE_BYTES)
    made.set(zmq.LINGER, 0)
    return made
