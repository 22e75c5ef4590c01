"""Digest: one hash of everything that happened in a run, and when.

Owns the portable byte form of records. Must not know a clock or a driver.

In two runs with the same digest every learner applied the same updates, and every strand had the
same effects, at the same times and in the same order, on any machine. Spans are hashed lane by lane
(learner, strand and kind) and updates learner by learner, so whether they come one by one or in
bulk leaves no mark; which of two learners was first, the times say. Values are packed
little-endian. An update's loss and learning rate are left out: they come from kernels and math
libraries that differ between machines, change no time, and belong to the digest of the numerics.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from hashlib import blake2b
from itertools import starmap
from operator import itemgetter
from struct import Struct
from typing import TypeVar

import numpy as np

from dualrt.core.records import ChorusRow, Lane, Row, Span, Update
from dualrt.observe.chorus import columns

_PART = Struct("<BqII").pack  # tag, learner, lengths of strand and kind; then both in UTF-8
_ROW = Struct("<ddqqq").pack  # start, end, bytes, peer, step
_UPDATE = Struct("<dqdqqq").pack  # time, step, epoch, staleness, missed, samples

K = TypeVar("K", bound=Hashable)


class TimingDigest:
    """An observer that hashes every record (BLAKE2b, 128 bits)."""

    __slots__ = ("_lanes", "_updates")

    def __init__(self) -> None:
        self._lanes: dict[Lane, blake2b] = {}
        self._updates: dict[int, blake2b] = {}

    def span(self, span: Span) -> None:
        """Hash one effect."""
        self.bulk_spans(span.lane, (span.row,))

    def bulk_spans(self, lane: Lane, rows: Sequence[Row]) -> None:
        """Hash effects of one lane."""
        _part(self._lanes, lane).update(b"".join(starmap(_ROW, rows)))

    def chorus_spans(self, lanes: Sequence[Lane], rows: Sequence[ChorusRow]) -> None:
        """Hash effects of many lanes, each as if its rows had come alone."""
        starts_s, ends_s, sizes, steps = zip(*rows, strict=True)
        packed = np.empty((len(lanes), len(rows), 5), "<f8")  # as _ROW packs them
        whole = packed.view("<i8")
        packed[:, :, 0], packed[:, :, 1] = columns(starts_s), columns(ends_s)
        whole[:, :, 2], whole[:, :, 3], whole[:, :, 4] = sizes, -1, steps
        for lane, of_lane in zip(lanes, packed, strict=True):
            _part(self._lanes, lane).update(of_lane.data)

    def update(self, time_s: float, update: Update) -> None:
        """Hash when an update was applied, and to what."""
        self.bulk_updates([(time_s, update)])

    def bulk_updates(self, applied: Sequence[tuple[float, Update]]) -> None:
        """Hash updates, of each learner in order."""
        packed: dict[int, bytearray] = {}
        for time_s, (learner, step, epoch, _, _, staleness, missed, samples) in applied:
            of_learner = packed.get(learner)
            if of_learner is None:
                of_learner = packed[learner] = bytearray()
            of_learner += _UPDATE(time_s, step, epoch, staleness, missed, samples)
        for learner, of_learner in packed.items():
            _part(self._updates, learner).update(of_learner)

    def hexdigest(self) -> str:
        """The digest so far: 32 hexadecimal digits."""
        whole = blake2b(digest_size=16, person=b"dualrt-timing-2")
        for (learner, strand, kind), part in sorted(self._lanes.items(), key=itemgetter(0)):
            names = strand.encode(), kind.encode()
            whole.update(_PART(0, learner, *map(len, names)) + b"".join(names) + part.digest())
        for learner, part in sorted(self._updates.items(), key=itemgetter(0)):
            whole.update(_PART(1, learner, 0, 0) + part.digest())
        return whole.hexdigest()


def _part(parts: dict[K, blake2b], key: K) -> blake2b:
    part = parts.get(key)
    if part is None:
        part = parts[key] = blake2b(digest_size=16)
    return part
