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
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias, final

from dualrt.algorithms.gossip import WAYS, Gossiper, Way
from dualrt.core.effects import Awaited, Broadcast, Group, Packet, Together
from dualrt.core.errors import UsageError
from dualrt.core.learner import Layout, Seat, Strand
from dualrt.core.weights import Gradient, Snapshot

GroupSize: TypeAlias = int | Literal["node"]
"""Learners of a super-learner, or as many as there are in each node."""


@final
class HierarchicalADPSGD(Gossiper):
    """Super-learners of `learners_per_group` neighbouring ranks; the lowest rank leads.

    By default the learners of a node are one: of the processes that a launcher started on a host,
    or of a simulated server.
    """

    def __init__(
        self, seat: Seat, *, learners_per_group: GroupSize = "node", exchange: Way = "delta"
    ) -> None:
        super().__init__(seat, exchange=exchange)
        self.group = next(group for group in seat.layout.groups if seat.rank in group.ranks)
        self.leader = self.group.ranks[0]

    @classmethod
    def layout(
        cls,
        learners: int,
        *,
        learners_per_group: GroupSize = "node",
        exchange: Way = "delta",
        learners_per_node: int | None = None,
    ) -> Layout:
        """One group a super-learner, whose followers are in unison; leaders gossip on the graph.

        `learners_per_node` is None where nodes are not alike. Raises UsageError if groups of that
        size do not divide the learners, or nodes were asked for and are not alike.
        """
        size = _group_size(learners, learners_per_group, learners_per_node)
        leaders = tuple(range(0, learners, size))
        groups = tuple(
            Group(f"node {number}", tuple(range(leader, leader + size)))
            for number, leader in enumerate(leaders)
        )
        return Layout(
            replicas=leaders,
            gossipers=leaders,
            groups=groups,
            batches_per_update=size,
            one_sided=WAYS[exchange].one_sided,
            in_parts=True,
            unison=tuple(group.ranks[1:] for group in groups if size > 2),
        )

    def strands(self) -> Sequence[Strand]:
        """A leader trains and answers other leaders; a follower follows."""
        if self.rank == self.leader:
            return (Strand("lead", self.lead), *self.listeners())
        return (Strand("follow", self.follow),)

    async def lead(self) -> None:
        """The equations above; the leader alone decides the rate and the end."""
        while True:
            read, over = self.weights.snapshot(), self.finished  # w_k
            await Broadcast(self.group, self.leader, Packet(read.versions, read.vector, over))
            if over:
                break
            gradient, _ = await Together(self.group_gradient(read), self.average(self.step))
            await self.update(gradient, read)  # w_{k+1} = w_{k+1/2} - a g_s
        await self.spread_the_end()
        await self.exchange.finish()

    async def follow(self) -> None:
        """Take the leader's weights, give a gradient, until told that it is over."""
        while True:
            packet = await Broadcast(self.group, self.leader)
            read = Snapshot(packet.body, packet.versions)
            self.weights.adopt(read)
            if packet.note:
                return
            await self.group_gradient(read)

    def group_gradient(self, read: Snapshot[Any]) -> Awaited[Gradient[Any]]:
        """g_s: the mean over the super-learner's mini-batches, all taken at the same weights."""
        return self.mean_gradient(read, self.group)


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
