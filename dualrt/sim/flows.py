"""Links, and the flows on them.

Owns what a link and a flow remember, and when a link is contested. Must not know time: who moves
flows is `network`, which rate each gets is `filling`.

A link is *contested* only if its flows could together ask for more than it has, each going as fast
as its own cap and its route allow. Any other link connects nothing: it slows no flow, or bounds its
only one as a cap does. Most links of a cluster are wider than the few connections that cross them,
so most changes need no filling (AD-PSGD on 64 learners: none, and 2.8 a step if every shared link
were taken for contested).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable
from typing import TypeAlias

import msgspec

from dualrt.core.errors import UsageError

_CONTESTED_FROM = 1 - 1e-9
"""Part of a link from which on its flows contest it. Below 1, because demands are added and taken
away in floating point, and a link that is taken for contested by mistake costs time and no more."""

_OVERRUN_FROM = 1 + 1e-9
"""Part of a link from which on a flow contests it alone: by crossing it often, or because it is
throttled."""


class Link:
    """One direction of something that bytes cross, shared by all flows that cross it.

    Parameters: `capacity_bytes_per_s` is finite and positive, `latency_s` finite and not negative.
    A link belongs to the one `Network` that its flows are given to.

    Raises `UsageError` for other values.
    """

    __slots__ = (
        "available_bytes_per_s",
        "capacity_bytes_per_s",
        "carried_bytes",
        "contested",
        "demand",
        "flows",
        "free",
        "full",
        "latency_s",
        "load",
        "mark",
        "name",
        "open",
    )

    def __init__(self, name: str, capacity_bytes_per_s: float, latency_s: float) -> None:
        if not 0 < capacity_bytes_per_s < math.inf:
            raise UsageError(
                f"link {name}: capacity {capacity_bytes_per_s!r} bytes/s is not positive and "
                f"finite. Leave out a link that limits nothing"
            )
        if not 0 <= latency_s < math.inf:
            raise UsageError(
                f"link {name}: latency {latency_s!r} s is not a finite number from 0. "
                f"Give seconds: 1 us is 1e-6"
            )
        self.name = name
        self.capacity_bytes_per_s = capacity_bytes_per_s
        self.latency_s = latency_s
        self.leave(capacity_bytes_per_s)
        self.carried_bytes = 0.0
        """By what is charged or done; flows under way have carried more."""
        self.flows: dict[Flow, None] = {}
        """A set in order of arrival. On a contested link, flows whose latency is over."""
        self.demand = 0.0
        """What its flows could together ask for, in bytes/s."""
        self.contested = False
        # Scratch of one filling, valid where `mark` is that filling's.
        self.mark = 0
        self.free = 0.0
        self.load = 0.0
        self.open = 0

    def __repr__(self) -> str:
        return f"Link({self.name!r}, {self.capacity_bytes_per_s:g} B/s, {self.latency_s:g} s)"

    def leave(self, bytes_per_s: float) -> None:
        """Let flows share so much of the capacity from now on."""
        self.available_bytes_per_s = bytes_per_s
        self.full = (_OVERRUN_FROM * bytes_per_s, _CONTESTED_FROM * bytes_per_s)
        """The demands from which on one flow contests it, and several do."""

    def reassess(self) -> None:
        """Say anew whether its flows contest it: after each change of these or of the capacity."""
        flows = len(self.flows)
        self.contested = flows > 0 and self.demand >= self.full[flows > 1]


Crossings: TypeAlias = "tuple[tuple[Link, int], ...]"
"""The links of a flow, and how many times it crosses each."""


def counted(links: Iterable[Link]) -> Crossings:
    """Each link once, with how many times it is there."""
    return tuple(Counter(links).items())


class Flow(msgspec.Struct, eq=False, gc=False):
    """Bytes under way: `remaining` as of `settled_s`, leaving at `rate` since.

    `settled_s` is in the future while the latency of a flow that nobody contests passes. `due_s` is
    when such a flow ends, and NaN for all others, whose ends are in the heap.
    """

    order: int
    crossings: Crossings
    size: float
    on_done: Callable[[], None]
    cap: float
    weight: float
    demand: float
    """The most that it could ever ask of a link."""
    remaining: float
    settled_s: float
    rate: float = 0.0
    due_s: float = math.nan
    stamp: int = 0
    mark: int = 0
    ceiling: float = 0.0
    share: float = 0.0
    """Scratch of one filling, as `mark`: valid where that is the filling's."""
