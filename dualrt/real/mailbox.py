"""The mailbox: where messages wait for the strand that wants them.

Owns their order: first in, first out for each sender and tag; and the end of waits for a sender
that is lost. Must not know how messages arrive, nor how a loss is noticed.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count

from dualrt.core.effects import Delivery
from dualrt.core.errors import Loss, PeerLostError, StalledError
from dualrt.real.gate import Bell, Gate


class Mailbox:
    """Deliveries by tag and sender; any thread may put and get.

    Bounded by the senders' windows, not here: a mailbox that refused a message could only lose it.
    """

    def __init__(self) -> None:
        self._gate = Gate()
        self._arrivals = count()
        self._queues: dict[str, dict[int, deque[tuple[int, Delivery]]]] = {}
        self._wanted: dict[tuple[str, int | None], list[Bell]] = {}
        """What the threads that wait in `get` wait for, and at which bell each of them."""
        self._lost: dict[int, str] = {}
        """Who is lost, and why."""
        self._losses: Counter[int] = Counter()
        """How often each was lost so far."""
        self.taken: Callable[[str, int], None] | None = None
        """Is told the tag and the sender of what a thread takes, by it, before the next is."""

    def put(self, delivery: Delivery, tag: str) -> None:
        """Add a delivery and wake whoever waits for it."""
        with self._gate:
            senders = self._queues.setdefault(tag, {})
            senders.setdefault(delivery.sender, deque()).append((next(self._arrivals), delivery))
            for peer in (delivery.sender, None):
                for bell in self._wanted.get((tag, peer), ()):
                    self._gate.announce(bell)

    def get(
        self,
        tag: str,
        peer: int | None,
        timeout_s: float,
        slow: Callable[[float], None] | None = None,
    ) -> Delivery:
        """The oldest delivery with this tag, from `peer` or, when that is None, from anyone.

        Raises `StalledError` when none came within `timeout_s` (which may be `math.inf`),
        `PeerLostError` when none is there and `peer` is lost, or is while it is waited for, and
        what the mailbox was closed with. `slow` is told of a long wait, as `Gate.wait` says.
        """
        with self._gate:
            self._gate.check()
            if self._oldest(tag, peer) is not None:
                return self._take(tag, peer)
            before = self._losses_of(peer)
            if peer is not None and peer in self._lost:
                raise PeerLostError(peer, self._lost[peer], Loss.KNOWN)

            def over() -> bool:
                return self._oldest(tag, peer) is not None or self._losses_of(peer) > before

            with self._wanting(tag, peer) as bell:
                came = self._gate.wait(over, timeout_s, slow, bell)
            if not came:
                whom = "anyone" if peer is None else f"learner {peer}"
                raise StalledError(f"no {tag!r} came from {whom} within {timeout_s:g} s")
            if peer is not None and self._oldest(tag, peer) is None:
                why = self._lost.get(peer, "it was away while its message was waited for")
                raise PeerLostError(peer, why, Loss.NOTICED)
            return self._take(tag, peer)

    def lose(self, peer: int, why: str) -> None:
        """End all waits for messages of this peer, now and until it is found."""
        with self._gate:
            self._lost[peer] = why
            self._losses[peer] += 1
            for (_, awaited), bells in self._wanted.items():
                if awaited == peer:
                    for bell in bells:
                        self._gate.announce(bell)

    def find(self, peer: int) -> None:
        """It can be waited for again."""
        with self._gate:
            self._lost.pop(peer, None)

    def await_quiet(self, takers: int, timeout_s: float) -> bool:
        """Wait until so many threads wait in `get` for anyone, and none has a delivery to take."""
        with self._gate:
            return self._gate.wait(lambda: self._quiet(takers), timeout_s)

    def close(self, error: BaseException | None = None) -> None:
        """Wake everyone who waits, now and later, with `error` or `ClosedError`."""
        self._gate.close(error)

    @contextmanager
    def _wanting(self, tag: str, peer: int | None) -> Iterator[Bell]:
        bell, bells = self._gate.bell(), self._wanted.setdefault((tag, peer), [])
        bells.append(bell)
        # For who waits until it is quiet.
        self._gate.announce()
        try:
            yield bell
        finally:
            bells.remove(bell)
            if not bells:
                del self._wanted[tag, peer]

    def _losses_of(self, peer: int | None) -> int:
        return 0 if peer is None else self._losses[peer]

    def _quiet(self, takers: int) -> bool:
        # Who waits for one peer in particular is in the midst of something with it, and what it
        # waits for may be on the wire.
        at_rest = sum(len(bells) for (_, peer), bells in self._wanted.items() if peer is None)
        served = any(self._oldest(tag, peer) is not None for tag, peer in self._wanted)
        return at_rest >= takers and not served

    def _oldest(self, tag: str, peer: int | None) -> int | None:
        senders = self._queues.get(tag)
        if not senders:
            return None
        if peer is not None:
            return peer if peer in senders else None
        return min(senders, key=lambda sender: senders[sender][0][0])

    def _take(self, tag: str, peer: int | None) -> Delivery:
        sender = self._oldest(tag, peer)
        assert sender is not None
        queue = self._queues[tag][sender]
        _, delivery = queue.popleft()
        # Tags may be as many as steps, so what is empty goes.
        if not queue:
            del self._queues[tag][sender]
        if not self._queues[tag]:
            del self._queues[tag]
        if self.taken is not None:
            self.taken(tag, sender)
        return delivery
