"""The two ends of a stream: all that one learner sends to another, in order.

Owns order, loss and repetition, on both sides. Does no input or output: the outgoing end says which
frame is next, the incoming end is shown the frames that came.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import NamedTuple

from dualrt.core.effects import Packet
from dualrt.real.drops import Drop, DroppedError
from dualrt.real.line import Turn
from dualrt.real.wire import (
    CHUNK_BYTES,
    Assembly,
    Bodies,
    Buffer,
    Chunk,
    Frame,
    Letter,
    Parts,
    beside,
    chunks,
)


class Positions:
    """Where each letter to one peer has its place: at the cost of all before it.

    They count those too that are dropped before they leave, and go on over connections and
    incarnations of the peer: what a peer has taken, which it tells by position, is compared with
    all that the roster has accepted for it.
    """

    def __init__(self) -> None:
        self._next = 0

    def take(self, letter: Letter) -> int:
        """The position of a letter that comes after all that were asked for before."""
        position = self._next
        self._next += letter.cost_bytes
        return position


class Outgoing:
    """The frames that wait to be sent to one peer, each made when its turn comes.

    Parameters: `place` may put a chunk's bytes elsewhere, as `dualrt.real.wire.chunks` says;
    `positions` are those of the peer's letters.
    """

    def __init__(
        self,
        origin: Frame,
        place: Callable[[memoryview], int | None] = beside,
        positions: Positions | None = None,
    ) -> None:
        self._origin, self._place = origin, place
        self._positions = Positions() if positions is None else positions
        self._waiting: deque[tuple[bool, Iterator[Parts | None]]] = deque()
        """What waits, and whether it has a body of more than a frame."""

    @property
    def idle(self) -> bool:
        """Whether nothing waits."""
        return not self._waiting

    def add(self, letter: Letter, turn: Turn | None = None) -> None:
        """Send a letter after all that was added before, and not before its turn has come."""
        frames = chunks(letter, self._origin, self._positions.take(letter), self._place)
        frames = frames if turn is None else _in_turn(letter, frames, turn)
        self._waiting.append((len(letter.body) > CHUNK_BYTES, frames))

    def add_frames(self, frames: Iterator[Parts | None]) -> None:
        """Send frames that take no part in the flow control, after all that was added before."""
        self._waiting.append((False, frames))

    def clear(self) -> None:
        """Drop all that waits; what is added later has its place after that all the same."""
        self._waiting.clear()

    def drop_bodies(self) -> None:
        """Drop messages that wait and take more than a frame, the one that is half sent too."""
        self._waiting = deque(waits for waits in self._waiting if not waits[0])

    def next(self) -> Parts | None:
        """The next frame, made now; None if there is none, or none yet."""
        while self._waiting:
            try:
                return next(self._waiting[0][1])
            except StopIteration:
                self._waiting.popleft()
        return None


def _in_turn(letter: Letter, frames: Iterator[Parts | None], turn: Turn) -> Iterator[Parts | None]:
    while not turn.come:
        if turn.over:
            return
        yield None
    yield from frames
    growth = letter.growth
    turn.over = growth is not None and growth.nbytes < len(letter.body)


class Arrival(NamedTuple):
    """A message that has arrived as a whole."""

    tag: str
    packet: Packet


class Incoming:
    """What arrives from one peer; at most one message is incomplete at a time."""

    def __init__(self, max_body_bytes: int, bodies: Bodies) -> None:
        self._max_body_bytes, self._bodies = max_body_bytes, bodies
        self._position = 0
        """Cost of all messages up to the last that was opened, that one included."""
        self._arriving: tuple[int, Assembly] | None = None
        """The message that is incomplete, and its position."""

    @property
    def settled_bytes(self) -> int:
        """Cost of all messages that have arrived or never will: they take no room here."""
        return self._position if self._arriving is None else self._arriving[0]

    def accept(self, chunk: Chunk, data: Buffer) -> Arrival | None:
        """Take a chunk; returns the message that it completes.

        Raises `DroppedError`, or `WireError` where the chunk contradicts itself. A chunk that is
        missing costs its message, and no other.
        """
        if not chunk.matches(data):
            raise DroppedError(Drop.CORRUPT)
        if chunk.opening:
            self._open(chunk)
        if self._arriving is None or self._arriving[0] != chunk.position:
            raise DroppedError(Drop.STRAY)
        _, assembly = self._arriving
        # Until the chunk has proved to be the next one, the message is as good as lost.
        self._arriving = None
        if not assembly.add(chunk.index, data):
            self._arriving = chunk.position, assembly
            return None
        return Arrival(assembly.tag, assembly.packet())

    def _open(self, chunk: Chunk) -> None:
        if chunk.position < self._position:
            raise DroppedError(Drop.STALE)
        assembly = Assembly(chunk.opening, self._max_body_bytes, self._bodies)
        self._position = chunk.position + assembly.cost_bytes
        self._arriving = chunk.position, assembly
