"""Digest: one hash of everything that happened in a run, and when.

Owns the portable byte form of records. Must not know a clock or a driver.

Two runs with the same digest did the same things at the same times in the same order, on any
machine. Values are packed little-endian; a string is hashed once, when it first occurs, together
with the number that stands for it from then on. An update's loss and learning rate are left out:
they come from kernels and math libraries that differ between machines, change no time, and belong
to the digest of the numerics.
"""

from __future__ import annotations

from hashlib import blake2b
from struct import Struct

from dualrt.core.records import Span, Update

_NAME = Struct("<BII").pack  # tag, code, length; then UTF-8
_SPAN = Struct("<BqIIddqqq").pack  # tag, learner, strand, kind, start, end, bytes, peer, step
_UPDATE = Struct("<Bdqqdqqq").pack  # tag, time, learner, step, epoch, staleness, missed, samples

_BLOCK = 1 << 16
"""Bytes gathered before they are hashed: a call for each record would cost more than hashing."""


class TimingDigest:
    """An observer that hashes every record in order (BLAKE2b, 128 bits)."""

    __slots__ = ("_codes", "_hash", "_pending")

    def __init__(self) -> None:
        self._hash = blake2b(digest_size=16, person=b"dualrt-timing-1")
        self._pending = bytearray()
        self._codes: dict[str, int] = {}

    def span(self, span: Span) -> None:
        """Hash one effect."""
        learner, strand, kind, start_s, end_s, size, peer, step = span
        codes = self._codes
        if strand not in codes:
            self._name(strand)
        if kind not in codes:
            self._name(kind)
        pending = self._pending
        pending += _SPAN(0, learner, codes[strand], codes[kind], start_s, end_s, size, peer, step)
        if len(pending) >= _BLOCK:
            self._drain()

    def update(self, time_s: float, update: Update) -> None:
        """Hash when an update was applied, and to what."""
        self._pending += _UPDATE(
            1,
            time_s,
            update.learner,
            update.step,
            update.epoch,
            update.staleness,
            update.missed,
            update.samples,
        )

    def hexdigest(self) -> str:
        """The digest so far: 32 hexadecimal digits."""
        self._drain()
        return self._hash.hexdigest()

    def _name(self, name: str) -> None:
        code = self._codes[name] = len(self._codes)
        encoded = name.encode()
        self._pending += _NAME(2, code, len(encoded)) + encoded

    def _drain(self) -> None:
        self._hash.update(self._pending)
        self._pending.clear()
