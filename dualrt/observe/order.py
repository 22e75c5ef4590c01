"""The order of a real run as files, one a learner, written as it happens.

Owns the file format. Must not know a driver, nor how turns are taken again.

A process writes `order-<rank>.jsonl`:

    {"order": {"version": 1, "rank": 0, "learners": 4, "device": "cpu", ...}}
    ["train", "snapshot"]            a change of weights, or a look at them, by a course
    ["train.1", "send offer", 2]     what was sent, to whom
    ["answer", "took offer", 3]      what was taken, from whom
    ["train", "finished", 812]       what the learner knew when it asked, in updates of all
    ["train.1", "lost", 2]           it was told of a loss: the order means nothing from here on
    {"ended": {"weights": ...}}      where the run ended well: the digest of the learner's weights

A last line that was cut short is left out when read, as are all after a loss.
"""

from __future__ import annotations

import re
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeVar

import msgspec

from dualrt import __version__
from dualrt.core.errors import RunError, UsageError
from dualrt.core.order import SEND, TOOK, Witness
from dualrt.observe.fresh import fresh

T = TypeVar("T")

VERSION = 1

LOST = "lost"

TURNS_PER_FLUSH = 256
"""How many a kill may lose."""

_NAME = re.compile(r"order-(0|[1-9]\d*)\.jsonl")


class Turn(NamedTuple):
    """One turn of a learner; see above."""

    course: str
    what: str
    number: float = -1
    """A rank or a count; -1 where there is none."""


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """Whose order it is, and where it was kept."""

    rank: int
    learners: int
    learners_per_node: int | None
    device: str
    folder: str
    """Where relative paths in the scenario start."""
    dualrt: str = __version__
    version: int = VERSION


class _Ended(msgspec.Struct, frozen=True):
    weights: str


class _First(msgspec.Struct, frozen=True):
    order: Header


class _Last(msgspec.Struct, frozen=True):
    ended: _Ended


class OrderWriter(Witness):
    """Keeps the order of one process's learner in a file of its own.

    Use as a context manager, or call `close`. Raises UsageError if the file is there already, or
    cannot be made; and, from whichever method writes, RunError where it cannot be written.
    """

    def __init__(self, folder: Path, header: Header) -> None:
        super().__init__()
        self.path = folder / f"order-{header.rank}.jsonl"
        self._encode_lines = msgspec.json.Encoder().encode_lines
        # One change at a time, whatever it is made of.
        self._changing = threading.Lock()
        self._sending: defaultdict[tuple[str, int], threading.Lock]
        self._sending = defaultdict(threading.Lock)
        self._pending: list[Any] = []
        # Guards the file, and what is pending while it is written.
        self._writing = threading.Lock()
        # With no buffer, which would fail once more as the file is closed.
        self._file = fresh(self.path, buffering=0)
        self._note(_First(header))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _change(self, course: str, what: str, change: Callable[[], T]) -> T:
        with self._changing:
            self._note((course, what))
            return change()

    def _know(self, course: str, what: str, number: float) -> float:
        self._note((course, what, number))
        return number

    def sent(self, tag: str, peer: int, send: Callable[[], None]) -> None:
        course = self.course
        if course is None:
            send()
            return
        with self._sending[tag, peer]:
            self._note((course, SEND + tag, peer))
            send()

    def took(self, tag: str, sender: int) -> None:
        course = self.course
        if course is not None:
            self._note((course, TOOK + tag, sender))

    def lost(self, peer: int) -> None:
        course = self.course
        if course is not None:
            self._note((course, LOST, peer))

    def ended(self, weights: str) -> None:
        """The run has ended well, with weights of this digest."""
        self._note(_Last(_Ended(weights)))

    def close(self) -> None:
        """Write what is left and close the file; a second call does nothing."""
        with self._writing:
            if not self._file.closed:
                self._flush()
                self._file.close()

    def _note(self, line: Any) -> None:
        with self._writing:
            if self._file.closed:
                # A daemon's, which works on while the process ends.
                return
            self._pending.append(line)
            if len(self._pending) >= TURNS_PER_FLUSH:
                self._flush()

    def _flush(self) -> None:
        left = memoryview(self._encode_lines(self._pending))
        self._pending.clear()
        try:
            while left:
                left = left[self._file.write(left) :]
        except OSError as error:
            # What comes after a gap is worth nothing.
            self._file.close()
            raise RunError(
                f"{self.path} cannot be written: {error.strerror}. Make room, or leave out "
                "--keep-order"
            ) from error


class Order(NamedTuple):
    """What is known of one learner's course."""

    header: Header
    turns: list[Turn]
    weights: str | None
    """The digest of its last weights; None where the run did not end well."""
    lost: int | None
    """The peer whose loss ended the order; None if nobody was lost."""


def read_orders(folder: Path) -> list[Order]:
    """The order of a run, learner by learner.

    Raises UsageError where it was not kept, or not of all learners of one run, or by another
    version.
    """
    named = ((_NAME.fullmatch(file.name), file) for file in folder.glob("order-*.jsonl"))
    files = sorted((int(name[1]), file) for name, file in named if name)
    if not files:
        raise UsageError(
            f"{folder} holds no order-*.jsonl. Name a folder that dualrt train --keep-order made"
        )
    orders = [_read(file) for _, file in files]
    learners = orders[0].header.learners
    for (rank, file), order in zip(files, orders, strict=True):
        if (order.header.rank, order.header.learners) != (rank, learners) or rank >= learners:
            raise UsageError(
                f"{file} is of learner {order.header.rank} of {order.header.learners}, and not of "
                f"learner {rank} of {learners}. Bring the files of one run alone together"
            )
    missing = sorted(set(range(learners)) - {rank for rank, _ in files})
    if missing:
        raise UsageError(
            f"{folder}: order-{missing[0]}.jsonl is missing, of {learners} learners. Bring the "
            "files of all hosts together in one folder"
        )
    return orders


def _read(path: Path) -> Order:
    lines = _whole_lines(path)
    try:
        header = msgspec.json.decode(next(lines, b""), type=_First).order
    except msgspec.DecodeError as error:
        raise UsageError(f"{path} does not begin as the order of a run: {error}") from error
    if header.version != VERSION:
        raise UsageError(
            f"{path} is of version {header.version} and not {VERSION}. Replay it with dualrt "
            f"{header.dualrt}, which wrote it"
        )
    turns: list[Turn] = []
    decode = msgspec.json.Decoder(Turn | _Last).decode
    for number, line in enumerate(lines, start=2):
        try:
            turn = decode(line)
        except msgspec.DecodeError as error:
            raise UsageError(f"{path}, line {number}, is no turn: {error}") from error
        if isinstance(turn, _Last):
            return Order(header, turns, turn.ended.weights, None)
        if turn.what == LOST:
            return Order(header, turns, None, int(turn.number))
        turns.append(turn)
    return Order(header, turns, None, None)


def _whole_lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield line
