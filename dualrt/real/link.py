"""The link: the way to one peer, as its sender sees it.

Owns the order in which frames go to the peer: hello until it is answered, then messages, and before
them, where the peer is on the same host, the offer of memory to share. Must not know what messages
say, nor when the socket is ready.

A connection that breaks takes along what was under way. Then the link begins anew: with a hello,
and without what waited, which counts as lost (docs/decisions/0015-lost-peers.md).

Only the bytes of chunks go through shared memory, and only once the peer has it: until then, and if
it cannot, they travel beside their headers, which always go through the socket and so keep their
order. A sender whose slots are all full waits for the peer to free some. If it waits for long,
frames were lost with a connection, or the peer was started again, and it offers the memory again.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import zmq

from dualrt import __version__
from dualrt.real import sockets
from dualrt.real.line import Line
from dualrt.real.ring import RingError, RingWriter
from dualrt.real.stream import Outgoing, Positions
from dualrt.real.wire import Frame, Hello, Letter, Parts, Share, Slots, encode

BURST_FRAMES = 16
"""Frames that one socket may send or receive before the others get their turn."""

SHARED_LEAST_BYTES = 64 * 1024
"""What is smaller goes through the socket, and needs no memory to be shared."""


class Link:
    """The way to one peer.

    Parameters: `origin` says who we are, of which `version`, and `address` where we listen; an
    offer that is not answered is made again after `patience_s`; `shares` is whether memory may be
    offered; `positions` are those of the peer's letters; on the `line`, if it leaves the host,
    rounds have their turns. Used by the courier's thread alone.
    """

    def __init__(
        self,
        dealer: zmq.Socket[bytes],
        origin: Frame,
        peer: int,
        *,
        address: str = "",
        version: str = __version__,
        patience_s: float,
        shares: bool,
        positions: Positions | None = None,
        line: Line | None = None,
    ) -> None:
        self.dealer = dealer
        self.connection: int | None = None
        """The file descriptor of the connection that stands, which is ZeroMQ's."""
        self.ready = False
        """Whether the peer has answered the hello."""
        self.due_s = math.inf
        """When to `push` again, though nothing may have happened."""
        self.awaits_room = False
        """There is something to send, and the poller says when the socket takes it."""
        self._signature = origin.run, origin.sender, origin.incarnation
        self._peer, self._address, self._version = peer, address, version
        self._renewals = 0
        self._patience_s = patience_s
        self._hello_due_s = 0.0
        self._outgoing = Outgoing(origin, self._place, positions)
        self._parts: Parts | None = None
        """The next frame, made but not sent."""
        self._line = line
        self._shares = shares
        self._ring: RingWriter | None = None
        self._shared = False
        """Whether the peer has the ring."""
        self._offer_due_s = 0.0

    def add(self, letter: Letter, round_: int | None = None) -> None:
        """Send a letter after all that was added before, and after all of earlier rounds."""
        turn = None
        if self._line is not None and round_ is not None:
            turn = self._line.ask(self._peer, len(letter.body), round_)
        self._outgoing.add(letter, turn)

    def add_last(self, letter: Letter) -> None:
        """Send a letter before all bodies that wait, which are dropped."""
        self._outgoing.drop_bodies()
        self._outgoing.add(letter)

    def add_frames(self, frames: Iterator[Parts | None]) -> None:
        """Send frames that take no part in the flow control, after all that was added before."""
        self._outgoing.add_frames(frames)

    def renew(self) -> None:
        """Begin anew: the connection broke."""
        self.ready = False
        self._renewals += 1
        self._parts = None
        self._outgoing.clear()
        if self._line is not None:
            self._line.drop(self._peer)
        self._hello_due_s = 0.0
        # The peer may be another process by then, which has no part in the memory.
        self._shared, self._offer_due_s = False, 0.0

    def hurry(self) -> None:
        """The peer is there: greet it at the next `push`."""
        self._hello_due_s = 0.0

    @property
    def idle(self) -> bool:
        """Whether nothing waits to be sent, as far as the last `push` has come."""
        return self._parts is None and self._outgoing.idle

    def push(self, now_s: float) -> bool:
        """Send what the socket takes; returns whether it takes no more for now."""
        self.due_s = math.inf
        return self._send(now_s) if self.ready else self._greet(now_s)

    def hear_slots(self, slots: Slots) -> None:
        """What the peer has read of the ring, or that it cannot have it."""
        if self._ring is None or slots.nonce != self._ring.nonce:
            return
        if slots.freed is None:
            self.unshare()
            return
        self._shared = True
        self._offer_due_s = math.inf
        self._ring.free(slots.freed)

    def unshare(self) -> None:
        """Share no memory from now on."""
        if self._ring is not None:
            self._ring.close()
        self._ring, self._shares, self._shared = None, False, False

    def _greet(self, now_s: float) -> bool:
        # More than once, because a hello is lost with a connection that breaks.
        if now_s >= self._hello_due_s:
            hello = Hello(
                *self._signature,
                self._peer,
                self._address,
                self._renewals,
                version=self._version,
            )
            if not sockets.offer(self.dealer, (encode(hello),)):
                return True
            self._hello_due_s = now_s + self._patience_s
        self.due_s = self._hello_due_s
        return False

    def _send(self, now_s: float) -> bool:
        for _ in range(BURST_FRAMES):
            self._parts = self._parts or self._next(now_s)
            if self._parts is None:
                return False
            if not sockets.offer(self.dealer, self._parts):
                return True
            self._parts = None
        return True

    def _next(self, now_s: float) -> Parts | None:
        """The next frame; None if there is none, or none before a slot is free, or bytes come."""
        if self._ring is not None:
            if self._ring.full:
                self._offer_due_s = min(self._offer_due_s, now_s + self._patience_s)
            if now_s >= self._offer_due_s:
                self._offer_due_s = now_s + self._patience_s
                return (encode(self._offer(self._ring)),)
            if self._ring.full:
                self.due_s = self._offer_due_s
                return None
        return self._outgoing.next()

    def _offer(self, ring: RingWriter) -> Share:
        return Share(*self._signature, ring.pid, ring.fd, ring.nonce, ring.written)

    def _place(self, data: memoryview) -> int | None:
        """Put a chunk's bytes into a slot, if the peer has the ring."""
        if not self._shares or len(data) < SHARED_LEAST_BYTES:
            return None
        if self._ring is None:
            try:
                self._ring = RingWriter()
            except RingError:
                self._shares = False
        if self._ring is None or not self._shared:
            return None
        return self._ring.write(data)
