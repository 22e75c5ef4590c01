"""What the kernel tells of a TCP connection.

Owns the layout of Linux's `struct tcp_info`, which only ever grows at its end. Must not know whose
connection it is. Elsewhere than on Linux nothing is told.
"""

from __future__ import annotations

import socket
import struct
import sys
from typing import NamedTuple

_INFO = struct.Struct("=16xI4xI92xQ20xI8xQ")
"""Of its fields: snd_mss, unacked (in segments), bytes_acked, min_rtt (in us), delivery_rate."""

_NEVER_US = 2**32 - 1


class Progress(NamedTuple):
    """How far a connection has come."""

    acked_bytes: int
    """What the other end's kernel has taken, since the connection was made."""
    in_flight_bytes: int
    """What has left this host's kernel besides, about."""
    bytes_per_s: float
    """How fast the other end last took it."""
    min_rtt_s: float
    """The shortest way there and back that was seen: with next to nothing in the queues."""


def progress(fd: int) -> Progress | None:
    """Of the connection with this file descriptor; None if there is none, or nothing is told.

    The descriptor may be somebody else's, and may have another owner by now: it is only looked at,
    neither held nor closed.
    """
    if sys.platform != "linux":
        return None
    try:
        # Of which family is a formality here, and asking the kernel for it takes time.
        seen = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, fileno=fd)
    except OSError:
        return None
    try:
        info = seen.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO.size)
    except OSError:
        return None
    finally:
        seen.detach()
    if len(info) < _INFO.size:
        # Of a kernel before 4.9.
        return None
    segment_bytes, unacked, acked_bytes, min_rtt_us, bytes_per_s = _INFO.unpack(info)
    if not acked_bytes:
        # Of a kernel that fills in zeros (gVisor): a connection that stands has had its SYN taken.
        return None
    min_rtt_s = 0.0 if min_rtt_us == _NEVER_US else min_rtt_us / 1e6
    return Progress(acked_bytes, unacked * segment_bytes, float(bytes_per_s), min_rtt_s)
