"""Word: what learners of one host say at each other's door where gossip is not encrypted.

Owns the word, how it is handed out, and that others of the host do not get it. Must not know of
sockets.

On loopback everybody on the host can connect, and ZeroMQ collects whatever parts of a frame they
send before a learner can refuse them. So who connects has to say a word first, which learners tell
each other by way of a file that only their user can read (PLAIN, rfc.zeromq.org/spec/24). It is
said in the clear, which on loopback only root can listen to, and costs nothing once it is said.
"""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

WORD = "DUALRT_WORD"
"""Environment variable that names the file with the word, where a launcher has made one."""

Exchange: TypeAlias = Callable[[str, str], list[str]]
"""What all learners say of something, by rank, given what it is and what this one says."""


@dataclass(frozen=True, slots=True)
class Word:
    """What is said at the door."""

    text: bytes = field(repr=False)

    @classmethod
    def make(cls) -> Word:
        """A new one, from the system's source of randomness."""
        return cls(secrets.token_hex(16).encode())


def given() -> Word | None:
    """The word that a launcher has given to its processes, if it did."""
    file = os.environ.get(WORD)
    return None if file is None else _read(file)


def handed_out(rank: int, exchange: Exchange) -> Word | None:
    """A word of learner 0's, for all of them; None if one of them cannot read it.

    No file is left when everybody has read it.
    """
    file = _written(Word.make()) if rank == 0 else ""
    try:
        where = exchange("word", file)[0]
        word = _read(where) if where else None
        heard = exchange("word heard", "" if word is None else "yes")
        return word if all(heard) else None
    finally:
        if file:
            Path(file).unlink(missing_ok=True)


def _written(word: Word) -> str:
    """The file that a word is in; only its owner can read it. Empty if there can be none."""
    try:
        number, file = tempfile.mkstemp(prefix="dualrt-word-")
        with os.fdopen(number, "wb") as opened:
            opened.write(word.text)
    except OSError:
        return ""
    return file


def _read(file: str) -> Word | None:
    try:
        return Word(Path(file).read_bytes())
    except OSError:
        return None
