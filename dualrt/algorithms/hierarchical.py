"""Hierarchical AD-PSGD (1907.05701, sec. 4; H-ring of 2002.10502).

The N learners of a node are one super-learner. Inside it a step is synchronous; between
super-learners runs AD-PSGD. With lambda learners in nodes of N it converges like lambda / N AD-PSGD
learners that have N times the batch. For each super-learner s with leader l:

    g_s       = mean_{i in s} g(w_k; xi_{i,k})    allreduce inside      } concurrently
    w_{k+1/2} = sum_j t_sj w_j                    the leader gossips    }
    w_{k+1}   = w_{k+1/2} - a g_s                 at the leader
    all of s take w_{k+1}                         broadcast inside

Stale: nothing inside a super-learner; between them as in AD-PSGD. Conserved: the sum over the
leaders' weights, but for applied gradients. Waits for: the slowest learner of the node.

A super-learner that loses a member stops, and with it the run; or, with
`on_member_lost = "go-on"`, those that reach each other agree on who they are (`Team`), take the
lowest of them for their leader, and go on as a smaller super-learner, from the weights that this
one has; once they reach others of theirs again they are one again. The step that was under way is
taken again. The others' gossip does not wait for any of that; a new leader tells all learners for
which vertex of the graph it stands from now on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias, final

from dualrt.algorithms.gossip import WAYS, Gossiper, Way, check_overlap
from dualrt.algorithms.period import check_period
from dualrt.algorithms.team import Team
from dualrt.core.effects import Awaited, Broadcast, Group, Packet, Recv, Send, Together
from dualrt.core.errors import PeerLostError, RunError, UsageError
from dualrt.core.keeping import Pause
from dualrt.core.learner import Layout, Seat, Strand
from dualrt.core.weights import Gradient, Snapshot

ANEW = "anew"
"""The note of a leader that has its team made anew."""

GroupSize: TypeAlias = int | Literal["node"]
"""Learners of a super-learner, or as many as there are in each node."""

OnLoss: TypeAlias = Literal["stop", "go-on"]
"""What a super-learner does when it loses a member."""


@final
class HierarchicalADPSGD(Gossiper):
    """Super-learners of `learners_per_group` neighbouring ranks; the lowest rank leads.

    By default the learners of a node are one: of the processes that a launcher started on a host,
    or of a simulated server. `on_member_lost` says whether one goes on without a member that is
    lost. Leaders start exchanges in every `period`-th step, and wait for one only when `overlap`
    steps of the super-learner have been taken beside it: with 1, in each.
    """

    def __init__(
        self,
        seat: Seat,
        *,
        learners_per_group: GroupSize = "node",
        exchange: Way = "delta",
        period: int = 1,
        overlap: int = 1,
        on_member_lost: OnLoss = "stop",
    ) -> None:
        super().__init__(seat, exchange=exchange, period=period, overlap=overlap)
        self.team = Team(
            self, next(group for group in seat.layout.groups if seat.rank in group.ranks)
        )
        self.vertex = self.team.leader
        self._goes_on = on_member_lost == "go-on"

    @classmethod
    def layout(
        cls,
        learners: int,
        *,
        learners_per_group: GroupSize = "node",
        exchange: Way = "delta",
        period: int = 1,
        overlap: int = 1,
        on_member_lost: OnLoss = "stop",
        learners_per_node: int | None = None,
    ) -> Layout:
        """One group a super-learner, whose followers are in unison; leaders gossip on the graph.

        `learners_per_node` is None where nodes are not alike. Raises UsageError if groups of that
        size do not divide the learners, or nodes were asked for and are not alike; if learners are
        to go on whose exchange cannot; unless `period` and `overlap` are at least 1, and where the
        exchange leaves no room for an overlap.
        """
        check_period(period)
        check_overlap(overlap, exchange)
        size = _group_size(learners, learners_per_group, learners_per_node)
        leaders = tuple(range(0, learners, size))
        groups = tuple(
            Group(f"node {number}", tuple(range(leader, leader + size)))
            for number, leader in enumerate(leaders)
        )
        way, goes_on = WAYS[exchange], on_member_lost == "go-on"
        if goes_on and not way.outlives_peers:
            raise UsageError(
                f"on_member_lost = 'go-on' needs an exchange that goes on as well, and "
                f"{exchange!r} waits for the lost; take exchange = 'delta', or stop"
            )
        return Layout(
            replicas=leaders,
            gossipers=leaders,
            groups=groups,
            batches_per_update=size,
            one_sided=way.one_sided,
            in_parts=True,
            outlives_peers=goes_on,
            bears_disorder=way.bears_disorder,
            pause=Pause.DRAINED,
            heirs=_heirs(groups) if goes_on else (),
            # Who may come to lead has more strands than one.
            unison=() if goes_on else tuple(group.ranks[1:] for group in groups if size > 2),
        )

    @property
    def leads(self) -> bool:
        """Whether it leads its super-learner now."""
        return self.team.leader == self.rank

    @property
    def is_replica(self) -> bool:
        """Only leaders' weights count: followers have these, or had."""
        return self.leads

    @property
    def holds(self) -> bool:
        """A leader does; where it waits, its followers have given all gradients, and wait too."""
        return self.leads

    def strands(self) -> Sequence[Strand]:
        """A leader trains and answers other leaders; a follower follows, and may have to lead."""
        train = Strand("lead" if self.leads else "follow", self.train)
        if self._goes_on:
            heed = Strand("heed", self.heed_leaders, daemon=True)
            team = Strand("team", self.team.heed_attempts, daemon=True)
            return (train, *self.listeners(), heed, team)
        return (train, *self.listeners()) if self.leads else (train,)

    async def rejoin(self) -> bool:
        """Raises RunError: its super-learner has gone on without it."""
        raise RunError(
            f"learner {self.rank} was started again, and its super-learner has gone on without it"
        )

    async def train(self) -> None:
        """Lead or follow until the end; in another team when members are lost, or found again."""
        while True:
            led = self.leads
            try:
                over = await (self.lead() if led else self.follow())
            except PeerLostError as lost:
                if not self._goes_on or lost.peer not in self.team.group.ranks:
                    raise
                over = False
            if over or await self.team.make_anew():
                await self.end_it()
                return
            # Weights of a part: others than these were averaged with before, or are from now on.
            self.abandoned += led is not self.leads
            if self.leads:
                await self.announce()

    async def lead(self) -> bool:
        """The equations above; the leader alone decides the rate and the end.

        Returns whether it is over; if not, the team is to be made anew.
        """
        while True:
            await self.between_steps()
            read, over = self.weights.snapshot(), self.finished  # w_k
            note = over or (self.team.may_grow and ANEW)
            await Broadcast(self.team.group, self.rank, Packet(read.versions, read.vector, note))
            if note:
                return over
            if self.overlap > 1:
                missing, _ = await Together(self.steps_ahead(read), self.average_meanwhile())
                if missing is not None:
                    raise missing
                continue
            gradient, _ = await Together(self.group_gradient(read), self.average(self.step))
            if isinstance(gradient, PeerLostError):
                raise gradient
            await self.update(gradient, read)  # w_{k+1} = w_{k+1/2} - a g_s

    async def steps_ahead(self, read: Snapshot[Any]) -> PeerLostError | None:
        """A step, and others while the leader's exchange is under way; or who is missing."""
        while True:
            gradient = await self.group_gradient(read)
            if isinstance(gradient, PeerLostError):
                return gradient
            await self.update(gradient, read)  # w_{k+1} = w_k - a g_s
            if not self.goes_ahead():
                return None
            read = self.weights.snapshot()  # w_k
            try:
                await Broadcast(self.team.group, self.rank, Packet(read.versions, read.vector))
            except PeerLostError as lost:
                if not self._goes_on:
                    raise
                return lost

    async def follow(self) -> bool:
        """Take the leader's weights, give a gradient, until told that it is over; as `lead`."""
        while True:
            packet = await Broadcast(self.team.group, self.team.leader)
            read = Snapshot(packet.body, packet.versions)
            self.weights.adopt(read)
            if packet.note:
                return packet.note is True
            gradient = await self.group_gradient(read)
            if isinstance(gradient, PeerLostError):
                raise gradient

    async def end_it(self) -> None:
        """What is left to do when it is over."""
        if self._goes_on:
            await self.team.tell_it_is_over()
        if self.leads:
            await self.spread_the_end()
            await self.exchange.finish()

    def group_gradient(self, read: Snapshot[Any]) -> Awaited[Gradient[Any] | PeerLostError]:
        """g_s: the mean over the super-learner's mini-batches, all taken at the same weights.

        Or who is missing: as an error it would end the run, where it is taken beside an average.
        """
        if self._goes_on:
            return self._group_gradient_or_who_is_missing(read)
        return self.mean_gradient(read, self.team.group)

    async def _group_gradient_or_who_is_missing(
        self, read: Snapshot[Any]
    ) -> Gradient[Any] | PeerLostError:
        try:
            return await self.mean_gradient(read, self.team.group)
        except PeerLostError as lost:
            return lost

    async def announce(self) -> None:
        """Tell all learners that this one leads: each of them may come to lead as well."""
        for peer in range(self.seat.learners):
            if peer not in self.team.group.ranks:
                await Send(peer, "leads", Packet(note=self.vertex))

    async def heed_leaders(self) -> None:
        """Take note of who stands for whom."""
        while True:
            leader, word = await Recv("leads")
            self.standing[word.note] = leader


def _heirs(groups: Sequence[Group]) -> tuple[tuple[int, int], ...]:
    return tuple((rank, group.ranks[0]) for group in groups for rank in group.ranks[1:])


def _group_size(learners: int, asked: GroupSize, learners_per_node: int | None) -> int:
    if asked == "node":
        # A mean over groups of several sizes would not be that over all mini-batches.
        if learners_per_node is None or learners % learners_per_node:
            raise UsageError(
                f"learners_per_group = 'node': the {learners} learners are not spread evenly over "
                "nodes, each with neighbouring ranks; start equally many in each node, or give the "
                f"size of all groups: a divisor of {learners}"
            )
        return learners_per_node
    if asked < 1 or learners % asked:
        raise UsageError(
            f"learners_per_group = {asked} does not divide {learners} learners into equal "
            f"groups; choose a divisor of {learners}, or 'node'"
        )
    return asked
