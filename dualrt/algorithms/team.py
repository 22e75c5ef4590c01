"""A team: those members of a group that reach one another, and work together.

Owns membership, and the protocol by which members that have lost some of theirs, or find some
again, make a team anew. Must not know what they do together, nor how a driver notices a loss.

    a member, of the lowest that it reaches          that one
    -- "left": number --> all                        sends the same to all
    -- "regroup": number ------------------>         waits for each that it reaches
    <-- "regroup": name, who with which number --    tells all of them

Who is lost while it is waited for raises PeerLostError; then everyone begins again with those that
are left, under a new number. A team is of the attempts that it names: who has begun another one by
then takes no such answer. And who hears from a member of its team that this one has begun another
leaves the team too (`Leave`), so that nobody waits in a collective for one that will not come.

Nothing tells a dead member from one that a partition keeps away. So both sides of a group that is
cut in two go on, each as a team with the lowest of its ranks for a leader, as do those of which all
others are dead. As soon as a leader reaches a member of the group that is not in its team, it has
its team made anew; the other's leader does the same, and all are one team again, with the weights
of the lowest rank (docs/decisions/0025-teams.md).

A member for which it is over says so to all others, and to whoever begins another attempt.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias, cast, final

from dualrt.algorithms.delta import INCARNATION_BITS
from dualrt.core.effects import Group, Leave, Packet, Recv, Send
from dualrt.core.errors import Loss, PeerLostError
from dualrt.core.learner import Learner

Ranks: TypeAlias = tuple[int, ...]

OVER = "over"
"""The note of a member that will not ask or answer any more."""

TRIES = 20
"""How often a member that lives may be silent for a timeout, before it ends the run: what it was
sent, or its answer, may have been lost, but it must not be waited for forever."""


class _Membership(NamedTuple):
    """A team, and by which of their attempts its members came to it."""

    group: Group
    attempts: dict[int, int]


@final
class Team:
    """One member's view of its team; the lowest rank leads."""

    def __init__(self, learner: Learner, group: Group) -> None:
        self._learner, self._rank = learner, learner.rank
        self._name, self._everyone = group.name, group.ranks
        self._membership = _Membership(group, {})
        self._attempt = learner.seat.incarnation << INCARNATION_BITS
        """The number of the newest one; no member has heard of a higher one of its dead selves."""
        self._begun: dict[int, int] = {}
        """The newest attempts of others that were heard of."""
        self._asked: dict[int, int] = {}
        """Attempts of those that want to be in a team that this one leads."""
        self._over = False

    @property
    def group(self) -> Group:
        """Those that work together now."""
        return self._membership.group

    @property
    def leader(self) -> int:
        """The lowest rank of the team."""
        return self.group.ranks[0]

    @property
    def may_grow(self) -> bool:
        """Whether a member of the group that is not in the team can be reached."""
        here = self.group.ranks
        if len(here) == len(self._everyone):
            return False
        lost = self._learner.lost()
        return any(rank not in here and rank not in lost for rank in self._everyone)

    async def make_anew(self) -> bool:
        """Find a team of all that can be reached; returns whether it is all over.

        Raises PeerLostError for a member that lives, and is silent again and again.
        """
        silences = 0
        while True:
            try:
                if await self._try():
                    return True
            except PeerLostError as lost:
                silences += lost.loss is Loss.SILENT
                if silences == TRIES:
                    raise
                continue
            if not any(map(self._has_gone, self.group.ranks)):
                return False

    async def tell_it_is_over(self) -> None:
        """Tell all others, who may have lost the leader that would have told them."""
        self._over = True
        for peer in self._everyone:
            if peer != self._rank:
                await Send(peer, "regroup", Packet(note=OVER))

    async def heed_attempts(self) -> None:
        """Leave the team when a member has begun another attempt; or tell it that it is over."""
        while True:
            peer, packet = await Recv("left")
            self._begun[peer] = max(packet.note, self._begun.get(peer, 0))
            if self._over:
                await Send(peer, "regroup", Packet(note=OVER))
            elif self._has_gone(peer):
                await Leave(self.group, peer)

    def _has_gone(self, peer: int) -> bool:
        """Whether a member of the team has begun another attempt than that by which it came."""
        group, attempts = self._membership
        return peer in group.ranks and self._begun.get(peer, 0) > attempts.get(peer, 0)

    async def _try(self) -> bool:
        """One attempt; returns whether it is all over. Raises PeerLostError."""
        self._attempt += 1
        lost = self._learner.lost()
        others = tuple(one for one in self._everyone if one != self._rank and one not in lost)
        for peer in others:
            await Send(peer, "left", Packet(note=self._attempt))
        if not others or self._rank < others[0]:
            return await self._gather(others)
        return await self._ask(others[0])

    async def _gather(self, others: Ranks) -> bool:
        """As the lowest: wait for all others, and tell them."""
        for peer in others:
            while not self._waits(peer):
                if await self._hear(peer) == OVER:
                    return True
        attempts = {self._rank: self._attempt, **{one: self._asked.pop(one) for one in others}}
        name = f"{self._name}, made anew by {self._rank}: {self._attempt}"
        self._membership = _Membership(Group(name, tuple(attempts)), attempts)
        for peer in others:
            await Send(peer, "regroup", Packet(note=(name, tuple(attempts.items()))))
        return False

    async def _ask(self, first: int) -> bool:
        known = self._learner.weights.known()
        await Send(first, "regroup", Packet(known, note=self._attempt))
        while True:
            said = await self._hear(first)
            if said == OVER:
                return True
            if said is None:
                continue
            name, members = cast(tuple[str, tuple[tuple[int, int], ...]], said)
            attempts = dict(members)
            if attempts[self._rank] == self._attempt:
                self._membership = _Membership(Group(name, tuple(attempts)), attempts)
                return False

    def _waits(self, peer: int) -> bool:
        """Whether a peer's newest attempt is one of which it has asked to be in this team."""
        return self._asked.get(peer, 0) >= self._begun.get(peer, 1)

    async def _hear(self, peer: int) -> Any:
        """What a peer says next; None if it asks."""
        _, packet = await Recv("regroup", peer)
        if not isinstance(packet.note, int):
            return packet.note
        self._learner.weights.hear(packet.versions)
        self._asked[peer] = max(packet.note, self._asked.get(peer, 0))
        return None
