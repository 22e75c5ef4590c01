"""The roster: what all threads of a learner know of the other learners.

Owns who has answered, who is lost, who has said goodbye, and how much may still be sent to each.
Must not know of sockets.

Flow control is by window, end to end. A message occupies its receiver from the moment that it is
accepted for sending until the receiver's *strand* has taken it. A sender may occupy each peer with
at most `window_bytes`, so the memory of every learner is bounded, however far ahead its neighbours
run. Both ends count: the sender what it has sent, the receiver what it holds, and the receiver
tells ("credit") whenever a quarter of the window has come free since it last told. A message is at
most half a window, so even with a quarter free and untold there is always room for one more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from dualrt.core.errors import SilentError, StalledError, UsageError
from dualrt.real.gate import Gate
from dualrt.real.wire import cost_bytes

SMALL_WINDOW_BYTES = 1024 * 1024
"""What the window has beside two bodies: about a thousand messages without a body."""


@dataclass(slots=True)
class _Peer:
    ready: bool = False
    lost: bool = False
    """It was there, and is not now: what is sent to it vanishes, and nobody waits for it."""
    refusal: str = ""
    """Why it will not have us, if it said so."""
    bye_sent: bool = False
    bye_heard: bool = False
    sent_bytes: int = 0
    """Cost of everything accepted for this peer."""
    taken_bytes: int = 0
    """How much of that the peer has said to hold no more."""
    held_bytes: int = 0
    """Cost of what has arrived from this peer and was not taken yet."""
    untold_bytes: int = 0
    """Cost of what was taken since the peer was last told."""


class Roster:
    """The other learners of the run; any thread may ask and tell.

    Parameters: `max_body_bytes` is the size of the largest body of any message.
    """

    def __init__(self, max_body_bytes: int) -> None:
        self.window_bytes = 2 * cost_bytes(max_body_bytes) + SMALL_WINDOW_BYTES
        self._gate = Gate()
        self._peers: dict[int, _Peer] = {}

    def enrol(self, ranks: Iterable[int]) -> None:
        """These are the other learners. Raises `UsageError` if that was said before."""
        with self._gate:
            self._gate.check()
            if self._peers:
                raise UsageError("the learners of this run are known already; connect once")
            self._peers = {rank: _Peer() for rank in ranks}

    def greeted(self, rank: int) -> None:
        """A peer has answered the hello."""
        with self._gate:
            peer = self._peers[rank]
            peer.ready, peer.lost, peer.refusal = True, False, ""
            self._gate.announce()

    def refuse(self, rank: int, why: str) -> None:
        """A peer, or who is where it was to be, says that we do not belong together."""
        with self._gate:
            self._peers[rank].refusal = why
            self._gate.announce()

    def lose(self, rank: int) -> None:
        """A peer is gone, or cannot be reached: what was to be sent to it occupies it no more."""
        with self._gate:
            peer = self._peers[rank]
            peer.ready, peer.lost = False, True
            peer.taken_bytes = peer.sent_bytes
            self._gate.announce()

    @property
    def lost(self) -> frozenset[int]:
        """Who is lost just now."""
        with self._gate:
            return frozenset(rank for rank, peer in self._peers.items() if peer.lost)

    def await_greeted(
        self,
        ranks: Iterable[int],
        timeout_s: float,
        slow: Callable[[float, list[int]], None] = lambda *_: None,
    ) -> None:
        """Wait until all of `ranks` have answered, or are lost.

        `slow` is told of a long wait, and for whom. Raises `SilentError` that names the silent, and
        `UsageError` as soon as one refuses us.
        """
        with self._gate:
            peers = {rank: self._peer(rank) for rank in ranks}

            def over() -> bool:
                return all(_known(peer) or peer.refusal for peer in peers.values())

            def silent() -> list[int]:
                return sorted(rank for rank, peer in peers.items() if not _known(peer))

            answered = self._gate.wait(over, timeout_s, lambda waited_s: slow(waited_s, silent()))
            refusals = [peer.refusal for peer in peers.values() if peer.refusal]
            if refusals:
                raise UsageError(refusals[0])
            if not answered:
                raise SilentError(silent(), timeout_s)

    def reserve(
        self,
        rank: int,
        cost: int,
        timeout_s: float,
        slow: Callable[[float], None] | None = None,
    ) -> bool:
        """Wait until `cost` bytes fit into the peer's window, and occupy them.

        Returns whether they are to be sent: not to a peer that is lost. Raises `UsageError` for a
        rank that is not in the run, `StalledError` when the peer's strands took too little within
        `timeout_s`. `slow` is told of a long wait, as `Gate.wait` says.
        """
        with self._gate:
            peer = self._peer(rank)

            def fits() -> bool:
                room = self.window_bytes - (peer.sent_bytes - peer.taken_bytes)
                return cost <= room or peer.lost

            if not self._gate.wait(fits, timeout_s, slow):
                raise StalledError(
                    f"learner {rank} took no message for {timeout_s:g} s while "
                    f"{peer.sent_bytes - peer.taken_bytes} bytes were waiting for it"
                )
            if peer.lost:
                return False
            peer.sent_bytes += cost
            return True

    def credit(self, rank: int, taken_bytes: int) -> None:
        """The peer says that it has taken so much in all."""
        with self._gate:
            peer = self._peers[rank]
            # Credits are cumulative: an overtaken one says nothing new, and nobody can have taken
            # more than was sent.
            peer.taken_bytes = min(max(peer.taken_bytes, taken_bytes), peer.sent_bytes)
            self._gate.announce()

    def hold(self, rank: int, cost: int) -> None:
        """A message from this peer has arrived, and waits to be taken."""
        with self._gate:
            self._peers[rank].held_bytes += cost

    def release(self, rank: int, cost: int) -> bool:
        """A message from this peer was taken; returns whether to tell the peer now."""
        with self._gate:
            peer = self._peers[rank]
            peer.held_bytes -= cost
            peer.untold_bytes += cost
            if peer.untold_bytes < self.window_bytes // 4:
                return False
            peer.untold_bytes = 0
            return True

    def held_bytes(self, rank: int) -> int:
        """What this peer occupies here."""
        with self._gate:
            return self._peers[rank].held_bytes

    def said_bye(self, rank: int) -> None:
        """Our goodbye to this peer is on its way."""
        with self._gate:
            self._peers[rank].bye_sent = True
            self._gate.announce()

    def heard_bye(self, rank: int) -> None:
        """The peer has said goodbye."""
        with self._gate:
            self._peers[rank].bye_heard = True
            self._gate.announce()

    def has_parted(self, rank: int) -> bool:
        """Whether the peer has said goodbye."""
        with self._gate:
            return self._peers[rank].bye_heard

    def await_byes(
        self, timeout_s: float, slow: Callable[[float, list[int]], None] = lambda *_: None
    ) -> frozenset[int]:
        """Wait until all goodbyes are said and heard, but for those of and to the lost.

        Returns the ranks that were not heard and are not lost. `slow` is told how long it takes, as
        `Gate.wait` says, and whom it waits for.
        """
        with self._gate:

            def parted(peer: _Peer) -> bool:
                return peer.lost or (peer.bye_sent and peer.bye_heard)

            def unheard() -> list[int]:
                return [
                    rank for rank, peer in self._peers.items() if not (peer.bye_heard or peer.lost)
                ]

            self._gate.wait(
                lambda: all(map(parted, self._peers.values())),
                timeout_s,
                lambda waited_s: slow(waited_s, unheard()),
            )
            return frozenset(unheard())

    def check(self) -> None:
        """Raise what every wait was ended with, if they were."""
        with self._gate:
            self._gate.check()

    def close(self, error: BaseException | None = None) -> None:
        """End every wait with `error` or `ClosedError`."""
        self._gate.close(error)

    def _peer(self, rank: int) -> _Peer:
        if rank not in self._peers:
            known = sorted(self._peers) or "none: connect first"
            raise UsageError(f"there is no learner {rank} to talk to; known are {known}")
        return self._peers[rank]


def _known(peer: _Peer) -> bool:
    return peer.ready or peer.lost
