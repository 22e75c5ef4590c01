"""Source: the way on which a learner hears one peer.

Owns which process is heard there, what has arrived of its messages, and the memory that it shares.
Must not know a socket, nor who is lost.
"""

from __future__ import annotations

from dualrt.real.drops import Drop, DroppedError
from dualrt.real.ring import RingError, RingReader
from dualrt.real.stream import Incoming
from dualrt.real.wire import Bodies, Body, Buffer, Chunk, HostBodies, Share, WireError

SPARE_BODIES = 2
"""Bodies whose memory waits to be filled again: one that is being blended and one that arrives."""


class Landing:
    """Memory for bodies: the host's, or what somebody has `chosen` instead."""

    def __init__(self) -> None:
        self._host = HostBodies(SPARE_BODIES)
        self.chosen: Bodies | None = None

    def take(self, nbytes: int) -> Body:
        """Memory for a body."""
        return (self.chosen or self._host).take(nbytes)


class Source:
    """Of the process that is a peer's `incarnation`; bodies come to lie where `bodies` says."""

    def __init__(self, incarnation: int, max_body_bytes: int, bodies: Bodies) -> None:
        self.incarnation = incarnation
        self.incoming = Incoming(max_body_bytes, bodies)
        self.route = b""
        """The ROUTER's name for the connection that the peer used last: replies go there."""
        self.renewals: int | None = None
        """How often the peer says that its connection to us has broken; None before its first
        hello."""
        self._ring: RingReader | None = None

    def look(self, share: Share) -> int:
        """How much is free of the ring that is offered. Raises RingError where it is none."""
        if self._ring is None or self._ring.nonce != share.nonce:
            self.close()
            self._ring = RingReader(share.pid, share.fd, share.nonce, share.written)
        # Frames keep their order: what was filled before this one was read, or never will be.
        self._ring.free(share.written)
        return self._ring.freed

    def read(self, chunk: Chunk, slot: int, beside: Buffer) -> memoryview:
        """A chunk's bytes in a slot of the ring, to be freed after use.

        Raises DroppedError for one without a ring or too late, WireError for what cannot be.
        """
        ring = self._ring
        if ring is None:
            raise DroppedError(Drop.STRAY)
        if slot < ring.freed:
            raise DroppedError(Drop.STALE)
        if beside:
            raise WireError("a chunk in two places")
        try:
            return ring.read(slot, chunk.nbytes)
        except RingError as error:
            raise WireError(str(error)) from error

    def free(self, slot: int) -> tuple[bytes, int] | None:
        """A slot was read; the ring's nonce and what is free of it, if the peer is to be told."""
        ring = self._ring
        if ring is None or not ring.free(slot + 1):
            return None
        return ring.nonce, ring.freed

    def close(self) -> None:
        """Give up the memory that is shared."""
        if self._ring is not None:
            self._ring.close()
            self._ring = None
