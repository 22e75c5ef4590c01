"""Rendezvous: the matching of collective calls in a simulated run.

Owns who has arrived: the n-th calls of all members of a group belong together. Must not know what
a collective computes or how long it takes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

from dualrt.core.effects import Group
from dualrt.core.errors import RunError

Wake: TypeAlias = Callable[[Any], None]


class Meeting(NamedTuple):
    """All members of a group, what each brought, and whom to wake, in the group's order."""

    brought: tuple[Any, ...]
    wakes: tuple[Wake, ...]


class _Gathering:
    """A collective that waits for its last member."""

    __slots__ = ("brought", "caller", "missing", "name", "wakes")

    def __init__(self, name: str, caller: int, members: int) -> None:
        self.name, self.caller, self.missing = name, caller, members
        self.brought: list[Any] = [None] * members
        self.wakes: dict[int, Wake] = {}


class _Circle:
    """One group, and what it is about to do together."""

    __slots__ = ("beside", "calls", "gatherings", "group", "places")

    def __init__(self, group: Group) -> None:
        self.group = group
        self.places = {rank: place for place, rank in enumerate(group.ranks)}
        self.calls = [0] * len(group.ranks)
        self.gatherings: dict[int, _Gathering] = {}
        self.beside: dict[int, Sequence[slice]] = {}
        """Places of those that a member always stands for."""

    def places_of(self, ranks: Sequence[int]) -> Sequence[slice]:
        """Where these members stand, neighbours together; raises RunError for one that is none."""
        for rank in ranks:
            if rank not in self.places:
                raise _stranger(rank, self.group)
        runs: list[slice] = []
        for place in sorted(self.places[rank] for rank in ranks):
            first = runs.pop().start if runs and runs[-1].stop == place else place
            runs.append(slice(first, place + 1))
        return runs


class Rendezvous:
    """Matches the calls of every group of a run."""

    def __init__(self) -> None:
        self._circles: dict[Group, _Circle] = {}
        # Hashing a group takes as long as it has members, and learners call with the same object.
        # A circle keeps its group alive, so that nothing else can have its identity.
        self._known: dict[int, _Circle] = {}

    def arrive(
        self,
        group: Group,
        rank: int,
        name: str,
        brought: Any,
        wake: Wake,
        others: Sequence[int] = (),
    ) -> Meeting | None:
        """Member `rank` calls the collective `name`; the meeting if it is the last to arrive.

        It may stand for `others` too, always the same, who bring what it brings and never call
        themselves; `wake` is called once for all. Raises RunError if one of them is no member, or
        if it calls another collective than the members that are here do: in a real run that would
        hang.
        """
        circle = self._known.get(id(group)) or self._circle(group)
        places, calls = circle.places, circle.calls
        place = places.get(rank)
        if place is None:
            raise _stranger(rank, group)
        number = calls[place]
        gathering = circle.gatherings.get(number)
        if gathering is None:
            gathering = _Gathering(name, rank, len(calls))
            circle.gatherings[number] = gathering
        elif gathering.name != name:
            raise RunError(
                f"group {group.name!r}: learner {rank} calls {name} "
                f"where learner {gathering.caller} calls {gathering.name}"
            )
        gathering.wakes[place] = wake
        calls[place] = number + 1
        gathering.brought[place] = brought
        gathering.missing -= 1
        if others:
            beside = circle.beside.get(rank)
            if beside is None:
                beside = circle.beside[rank] = circle.places_of(others)
            gathering.missing -= len(others)
            for run in beside:
                gathering.brought[run] = [brought] * (run.stop - run.start)
        if gathering.missing:
            return None
        del circle.gatherings[number]
        wakes = gathering.wakes
        return Meeting(tuple(gathering.brought), tuple([wakes[place] for place in sorted(wakes)]))

    def _circle(self, group: Group) -> _Circle:
        circle = self._circles.get(group)
        if circle is None:
            circle = self._circles[group] = self._known[id(group)] = _Circle(group)
        return circle


def _stranger(rank: int, group: Group) -> RunError:
    return RunError(f"learner {rank} is no member of group {group.name!r}: {group.ranks}")
