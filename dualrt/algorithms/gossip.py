"""Pairwise gossip: learners that average with neighbours on a graph, and how they end.

Owns whom a learner averages with, in which of its steps, who takes the place of those that are
lost, and the spreading of the end. Must not know how two learners exchange, which is `delta`'s or
`lock`'s affair.

The end: a learner that knows the agreed number of updates to be reached stops, and tells a few
others, who stop after their current step and tell a few more; log2(n) hops reach everyone. Its
answering strands stay until all learners have stopped, so nobody waits for one that has ended. Who
hears nothing, because messages are lost or nobody is left to tell it, ends all the same: its own
updates count, and reach the number in time.

With a period of H, T_k is the identity but in the last of each H steps: gossip with local updates
(2003.10422, alg. 1 with a periodic W). Each of those that are left is doubly stochastic as before;
between two of them learners drift apart for H steps instead of one.

With an overlap of K > 1 no step waits for an exchange, unless K have been taken beside it: as the
threads of 1710.06952 go on by themselves, and tau-overlap SGP (1811.10792) with its messages. A
round of the graph is then what begins when the last is over, and not what a step has. What makes
that right is that differences may be applied whenever they arrive (`dualrt.core.weights`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

from dualrt.algorithms.delta import Delta
from dualrt.algorithms.exchange import NOTHING, Exchange
from dualrt.algorithms.lock import Lock
from dualrt.algorithms.period import check_period
from dualrt.core.effects import Awaited, Body, Packet, Recv, Send, Together
from dualrt.core.errors import PeerLostError, UsageError
from dualrt.core.keeping import State
from dualrt.core.learner import Learner, Mixing, Seat, Shares, Strand
from dualrt.core.weights import Gradient, Snapshot

Way: TypeAlias = Literal["delta", "lock"]
"""How two learners exchange: by differences of what both sent, or as the papers do."""

WAYS: Mapping[Way, type[Exchange]] = MappingProxyType({"delta": Delta, "lock": Lock})


def check_overlap(overlap: int, exchange: Way) -> None:
    """Raise UsageError unless so many steps can be taken beside one exchange."""
    if overlap < 1:
        raise UsageError(f"overlap = {overlap}: steps beside one exchange; at least 1")
    if overlap > 1 and WAYS[exchange].holds_updates:
        raise UsageError(
            f"overlap = {overlap}: with exchange = {exchange!r} every update waits until no "
            "exchange is under way, so none can be taken beside one; take exchange = 'delta', or "
            "overlap = 1"
        )


class Gossiper(Learner):
    """A learner that averages pairwise with its neighbours on a graph."""

    def __init__(
        self, seat: Seat, *, exchange: Way = "delta", period: int = 1, overlap: int = 1
    ) -> None:
        super().__init__(seat)
        check_period(period)
        self.exchange = WAYS[exchange](self)
        check_overlap(overlap, exchange)
        self._period, self.overlap = period, overlap
        self._round = 0
        """With an overlap: the next round of the graph."""
        self._taken = 1
        """With an overlap: steps since the last round began, or one before the first step."""
        self._averaging = False
        """With an overlap: whether exchanges are under way."""
        self.vertex = self.rank
        """The gossiper of the layout that it is, or stands for."""
        self.standing: dict[int, int] = {}
        """Who stands for which gossipers of the layout that were lost, as far as is known."""
        self._detours = 0

    @property
    def mixing(self) -> Mixing:
        """This learner's rows of the mixing matrices."""
        if self.seat.mixing is None:
            raise UsageError(f"learner {self.rank} gossips, but it is no vertex of a graph")
        return self.seat.mixing

    def listeners(self) -> Sequence[Strand]:
        """The strands that every gossiping learner needs beside its training."""
        return (
            Strand("answer", self.exchange.answer, daemon=True),
            Strand("hear", self.hear_the_end, daemon=True),
        )

    def average(self, step: int) -> Awaited[object]:
        """w_{k+1/2} = sum_j t_ij w_j: the exchanges of a step that are this learner's to start.

        There are such in the last step of each period, a round of the graph.
        """
        round_, place = divmod(step, self._period)
        if place + 1 < self._period:
            return NOTHING
        return self._average_in(round_)

    def average_meanwhile(self) -> Awaited[object]:
        """The same with an overlap: the next round, unless the last began too few steps ago.

        To be followed by a step, and by others while `goes_ahead`.
        """
        if self._taken < self._period:
            return NOTHING
        round_ = self._round
        self._round, self._taken, self._averaging = round_ + 1, 0, True
        return self._averaged(round_)

    async def _averaged(self, round_: int) -> None:
        await self._average_in(round_)
        self._averaging = False

    def goes_ahead(self) -> bool:
        """A step was taken: whether to take another beside exchanges that are under way."""
        self._taken += 1
        return (
            self._taken < self.overlap
            and not self.finished
            and self.known("averaging", float(self._averaging)) > 0
        )

    def _average_in(self, round_: int) -> Awaited[object]:
        shares = self.mixing.initiates(round_)
        lost = self.lost()
        if lost:
            self.saw_losses = True
        if lost and self.exchange.outlives_peers:
            shares = self._around(lost, round_)
        elif self.standing:
            shares = tuple((self._stand_in(peer), share) for peer, share in shares)
        return self.exchange.average(shares)

    def _stand_in(self, gossiper: int) -> int:
        return self.standing.get(gossiper, gossiper)

    def _around(self, lost: frozenset[int], round_: int) -> Shares:
        """A round's exchanges on the graph without the lost: their neighbours are each other's.

        Taking a vertex out of a graph and joining its neighbours leaves what was connected so. Each
        neighbour of the lost starts an exchange with one of the others whenever it would have
        averaged with the lost, with each of them in turn.
        """
        started = dict(self.mixing.initiates(round_))
        around: dict[int, float] = {}
        for peer, share in self.mixing.row(round_):
            stand_in = self._stand_in(peer)
            if stand_in not in lost:
                if peer in started:
                    around[stand_in] = share
                continue
            beyond = self._beyond(peer, lost)
            if beyond:
                self._detours += 1
                around.setdefault(beyond[self._detours % len(beyond)], share)
        return tuple(around.items())

    def _beyond(self, gossiper: int, lost: frozenset[int]) -> Sequence[int]:
        """Who can be reached from one that is lost by way of the lost alone, ascending."""
        seen, found, frontier = {self.vertex, gossiper}, [], [gossiper]
        while frontier:
            for peer in self.mixing.peers(frontier.pop()):
                if peer in seen:
                    continue
                seen.add(peer)
                stand_in = self._stand_in(peer)
                if stand_in in lost:
                    frontier.append(peer)
                else:
                    found.append(stand_in)
        return sorted(found)

    def update(self, gradient: Gradient[Any], read: Snapshot[Any]) -> Body[None]:
        """w_{k+1} = w_{k+1/2} - a g, when the exchange allows it."""
        return self.exchange.update(gradient, read)

    def state(self) -> State:
        """What was given up by now, no learner that is started from there will hear the end of."""
        state = super().state()
        state.values["abandoned"] += self.exchange.given_up
        state.values.update(round=self._round, steps_since_round=self._taken)
        return state

    def restore(self, state: State) -> None:
        """Rounds go on from where they were."""
        super().restore(state)
        self._round = state.values.get("round", 0)
        self._taken = state.values.get("steps_since_round", 1)

    async def rejoin(self) -> bool:
        """Take the weights of the first learner that answers, neighbours before others.

        Its versions come along, so counts go on from what is known of this learner's dead self, and
        never back: what others know better is merged when they are met. If nobody answers, nobody
        is left. Meanwhile it turns away whoever offers: several may be started again at once, and
        would wait for one another.
        """
        if not self.seat.layout.takes_back:
            return await super().rejoin()
        found, _ = await Together(self._catch_up(), self.exchange.turn_away())
        return found

    async def _catch_up(self) -> bool:
        found = await self._take_weights()
        await self.exchange.have_weights()
        return found

    async def _take_weights(self) -> bool:
        everyone = self.seat.layout.gossipers
        place = everyone.index(self.rank)
        near = (peer for peer, _ in self.mixing.row(0))
        for peer in dict.fromkeys((*near, *everyone[place + 1 :], *everyone[:place])):
            try:
                theirs = await self.exchange.ask(peer)
            except PeerLostError:
                continue
            if theirs is None:
                continue
            self.weights.begin_from(theirs)
            self.life, self.saw_losses = self.seat.incarnation + 1, True
            # Its dead self has drawn as many mini-batches as it had updates; those that the one
            # that was asked had not heard of are drawn again.
            self.draws, self._round = self.step, self.step // self._period
            return True
        return False

    async def spread_the_end(self) -> None:
        """Tell the learners 1, 2, 4, 8 ... places on, whatever the graph is."""
        others = self.seat.layout.gossipers
        place, distance = others.index(self.vertex), 1
        versions = self.weights.known()
        while distance < len(others):
            other = others[(place + distance) % len(others)]
            await Send(self._stand_in(other), "end", Packet(versions))
            distance *= 2

    async def hear_the_end(self) -> None:
        """Take note that others have stopped."""
        while True:
            _, end = await Recv("end")
            self.weights.hear(end.versions)
