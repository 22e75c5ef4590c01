"""Drops: frames that are of no use, and why.

Owns the reasons, their counts, and when they are told. Must not know a socket.
"""

from __future__ import annotations

from enum import StrEnum

from dualrt.real.events import Events, Sparingly

DROPS_INTERVAL_S = 10.0
"""How often it is told that frames are dropped, for each reason: whoever floods a learner with them
is not to fill its log as well."""


class Drop(StrEnum):
    """Why a frame was dropped; the courier counts each."""

    MALFORMED = "malformed"
    """Not a frame of ours, or one that makes no sense where it came."""
    FOREIGN = "foreign"
    """Of another run."""
    VERSION = "version"
    """A greeting by another version of dualrt."""
    UNKNOWN = "unknown"
    """From a rank that is not in the run, or meant for another learner."""
    STALE = "stale"
    """From a previous incarnation of its sender, or a message that was opened already."""
    CORRUPT = "corrupt"
    """The checksum does not fit the bytes."""
    STRAY = "stray"
    """A chunk of a message whose beginning is missing."""
    UNSHARED = "unshared"
    """Memory that a peer offers to share and that cannot be had, or is not a ring."""
    REFUSED = "refused"
    """Not a frame: a connection of somebody who has not the run's keys."""
    UNREACHABLE = "unreachable"
    """A reply to a connection that is gone."""


ROUTINE = frozenset({Drop.STALE, Drop.STRAY, Drop.UNSHARED, Drop.UNREACHABLE})
"""What follows from losses, restarts and containers, and needs nobody's attention."""


class DroppedError(Exception):
    """A frame is of no use. Never leaves the courier, which counts it."""

    def __init__(self, reason: Drop) -> None:
        self.reason = reason
        super().__init__(reason.value)


class Drops:
    """Those of learner `rank`: `counters` are written by one thread, and read by any."""

    def __init__(self, rank: int, events: Events) -> None:
        self.counters = dict.fromkeys(Drop, 0)
        self._rank, self._events, self._speaking = rank, events, Sparingly(DROPS_INTERVAL_S)

    def count(self, reason: Drop, detail: str = "") -> None:
        """One more, and say so unless that was said a moment ago.

        `detail` is whose it was, or what is wrong with it.
        """
        self.counters[reason] += 1
        times = self._speaking.count(reason)
        if not times:
            return
        what = "connections" if reason is Drop.REFUSED else "frames"
        tell = self._events.info if reason in ROUTINE else self._events.warning
        tell(
            "frames_dropped",
            f"learner {self._rank} has dropped {times} {what}, {self.counters[reason]} in all: "
            f"{reason.value}{f' ({detail})' if detail else ''}",
            reason=reason.value,
            count=times,
            total=self.counters[reason],
            detail=detail,
        )
