"""TCP's slow start: how long a message is held up while the window of its connection grows.

Owns the window of each connection. Must not know what a message is for, nor who shares its links.

A connection may have no more bytes on the way than its window. It begins with an initial window,
ten segments (RFC 6928), and each round trip doubles it (RFC 5681, sec. 3.1), until a window is more
than the bytes that the path holds, rate * RTT; from then on the sender need not stop. Until then it
sends a window and waits for the first acknowledgement, so that a message is held up by

    the sum of RTT - w_i / rate    over the rounds i, w_i = 2^i w_0, in which w_i < rate * RTT
                                   and after which there is more to send

(the slow start of Cardwell, Savage and Anderson, Modeling TCP latency, INFOCOM 2000, without losses
and with every segment acknowledged). A connection that has been idle for longer than its
retransmission timeout begins with the initial window again (RFC 5681, sec. 4.1); otherwise its
window stays.

The rate is that of the path without other traffic. Where others share it, a smaller window would
do, so what is charged is the most that it can be.
"""

from __future__ import annotations

from typing import NamedTuple

from dualrt.sim.cluster import Cluster


class Path(NamedTuple):
    """What a window has to fill."""

    rate_bytes_per_s: float
    rtt_s: float


class Ramp(NamedTuple):
    """What slow start does to one message."""

    held_up_s: float
    window_bytes: float
    """Afterwards."""


def ramp(size_bytes: float, window_bytes: float, path: Path) -> Ramp:
    """How long a message is held up on a path that is otherwise empty, by the sum above."""
    held_up_s, sent_bytes, window = 0.0, 0.0, window_bytes
    while window < path.rate_bytes_per_s * path.rtt_s:
        if sent_bytes + window >= size_bytes:
            return Ramp(held_up_s, window + size_bytes - sent_bytes)
        held_up_s += path.rtt_s - window / path.rate_bytes_per_s
        sent_bytes += window
        window *= 2
    return Ramp(held_up_s, window)


class SlowStart:
    """The windows of all connections between the learners of a cluster."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._initial_bytes = cluster.spec.tcp_initial_window_bytes
        self._restart_s = cluster.spec.tcp_restart_s
        self._paths: dict[tuple[int, int], Path | None] = {}
        self._windows: dict[tuple[int, int], float] = {}
        self._used_s: dict[tuple[int, int], float] = {}

    def begin(self, sender: int, receiver: int, size_bytes: int, now_s: float) -> float:
        """Seconds that a message which begins now is held up; 0 within a server."""
        pair = sender, receiver
        if pair not in self._paths:
            self._paths[pair] = self._path(sender, receiver)
        path = self._paths[pair]
        if path is None:
            return 0.0
        idle_s = now_s - self._used_s.get(pair, now_s)
        if idle_s > self._restart_s + path.rtt_s:
            self.close(sender, receiver)
        window = self._windows.get(pair, self._initial_bytes)
        held_up_s, self._windows[pair] = ramp(size_bytes, window, path)
        return held_up_s

    def end(self, sender: int, receiver: int, now_s: float) -> None:
        """The last byte has arrived."""
        self._used_s[sender, receiver] = now_s

    def close(self, sender: int, receiver: int) -> None:
        """The connection begins anew with its next message."""
        self._windows.pop((sender, receiver), None)

    def _path(self, sender: int, receiver: int) -> Path | None:
        cluster = self._cluster
        if cluster.place(sender).server == cluster.place(receiver).server:
            return None
        there = cluster.message_route(sender, receiver)
        back = cluster.message_route(receiver, sender)
        narrowest = min(link.capacity_bytes_per_s for link in there)
        return Path(
            min(narrowest, cluster.spec.socket_bytes_per_s),
            sum(link.latency_s for link in (*there, *back)),
        )
