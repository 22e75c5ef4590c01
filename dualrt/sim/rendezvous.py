"""Rendezvous: the matching of collective calls in a simulated run.

Owns who has arrived: the n-th calls of all members of a group belong together. Must not know what
a collective computes or how long it takes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from dualrt.core.effects import Group
from dualrt.core.errors import RunError


class Meeting(NamedTuple):
    """All members of a group, each with what it brought, in the group's order."""

    brought: tuple[Any, ...]
    wakes: tuple[Callable[[Any], None], ...]


class _Gathering(NamedTuple):
    """A collective that waits for its last member."""

    name: str
    arrived: dict[int, tuple[Any, Callable[[Any], None]]]


class Rendezvous:
    """Matches the calls of every group of a run."""

    def __init__(self) -> None:
        self._gatherings: dict[tuple[Group, int], _Gathering] = {}
        self._calls: dict[tuple[Group, int], int] = {}

    def arrive(
        self, group: Group, rank: int, name: str, brought: Any, wake: Callable[[Any], None]
    ) -> Meeting | None:
        """Member `rank` calls the collective `name`; the meeting if it is the last to arrive.

        Raises RunError if `rank` is no member, or calls another collective than the others do:
        in a real run that would hang.
        """
        if rank not in group.ranks:
            raise RunError(f"learner {rank} is no member of group {group.name!r}: {group.ranks}")
        number = self._calls.get((group, rank), 0)
        self._calls[group, rank] = number + 1
        gathering = self._gatherings.setdefault((group, number), _Gathering(name, {}))
        if gathering.name != name:
            raise RunError(
                f"group {group.name!r}: learner {rank} calls {name} "
                f"where learner {next(iter(gathering.arrived))} calls {gathering.name}"
            )
        gathering.arrived[rank] = (brought, wake)
        if len(gathering.arrived) < len(group.ranks):
            return None
        del self._gatherings[group, number]
        members = [gathering.arrived[member] for member in group.ranks]
        return Meeting(tuple(b for b, _ in members), tuple(w for _, w in members))
