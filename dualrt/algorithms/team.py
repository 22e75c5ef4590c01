"""A team: the members of a group, who may become fewer, and agree on who they are.

Owns membership, and the protocol by which those that are left of a group make a smaller one. Must
not know what they do together, nor how a driver notices a loss.

    a member, of the lowest that it takes to be left        that one
    -- "regroup": round, whom it knows to be lost -->       waits for each that it takes to be left
    <-- "regroup": round, who is left ---------------       tells those that it has heard

Who is lost meanwhile is found by waiting for it, which raises PeerLostError: then the next lowest
is asked, or one member fewer is told. So all that are told one answer have the same, and who was
told of one that dies then finds it missing in its first collective and begins another round.

A member that is only silent is not left behind: it might go on by itself, as a second leader. Nor
is there anything to be done about a group that a partition cuts in two: each part goes on.

The last message of a member says that it is over, to all others: one that could not be told by its
leader any more ends with it.
"""

from __future__ import annotations

from typing import TypeAlias, cast, final

from dualrt.core.effects import Group, Packet, Recv, Send
from dualrt.core.errors import Loss, PeerLostError

Ranks: TypeAlias = tuple[int, ...]

OVER = "over"
"""The note of a member that will not ask or answer any more."""


@final
class Team:
    """One member's view of its group; the lowest rank leads."""

    def __init__(self, rank: int, group: Group) -> None:
        self.group = group
        self._rank, self._name = rank, group.name
        self._lost: set[int] = set()
        self._round = 0
        """How often the group has become smaller; the same at all members."""

    @property
    def leader(self) -> int:
        """The lowest rank that is left."""
        return self.group.ranks[0]

    async def went_on_without(self, lost: PeerLostError) -> bool:
        """Make a smaller group without those that are lost; returns whether it is all over.

        Raises the error itself where its peer is silent and not gone.
        """
        self._note(lost)
        while True:
            first, *others = (rank for rank in self.group.ranks if rank not in self._lost)
            try:
                if first == self._rank:
                    members = await self._gather(tuple(others))
                else:
                    members = await self._ask(first)
            except PeerLostError as also:
                self._note(also)
                continue
            if members is None:
                return True
            self._round += 1
            self.group = Group(f"{self._name}, made anew {self._round}", members)
            return False

    async def tell_it_is_over(self) -> None:
        """Tell all others, who may have lost the leader that would have told them."""
        for peer in self.group.ranks:
            if peer != self._rank:
                await Send(peer, "regroup", Packet(note=OVER))

    def _note(self, lost: PeerLostError) -> None:
        if lost.loss is Loss.SILENT:
            raise lost
        self._lost.add(lost.peer)

    async def _gather(self, others: Ranks) -> Ranks | None:
        """As the lowest: hear all others, and tell them; None if it is over."""
        heard: list[int] = []
        for peer in others:
            try:
                known = await self._hear(peer)
            except PeerLostError as also:
                self._note(also)
                continue
            if known is None:
                return None
            self._lost.update(known)
            heard.append(peer)
        members = (self._rank, *(peer for peer in heard if peer not in self._lost))
        for peer in members[1:]:
            await Send(peer, "regroup", Packet(note=(self._round, members)))
        return members

    async def _ask(self, first: int) -> Ranks | None:
        await Send(first, "regroup", Packet(note=(self._round, tuple(sorted(self._lost)))))
        return await self._hear(first)

    async def _hear(self, peer: int) -> Ranks | None:
        """The ranks that a peer names in this round; None if it is over."""
        while True:
            _, packet = await Recv("regroup", peer)
            if packet.note == OVER:
                return None
            round_, ranks = cast(tuple[int, Ranks], packet.note)
            # What comes twice or late is of an earlier round.
            if round_ == self._round:
                return ranks
