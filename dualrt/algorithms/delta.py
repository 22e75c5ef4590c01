"""The delta exchange: averaging that waits for nobody who computes, on any graph.

Owns the protocol of offer and answer.

    initiator I                         responder R
    m_I = offer        -- offer -->  m_R = offer
                         <-- answer --
    w_I += t (m_R - m_I)                w_R += t (m_I - m_R)

Both apply opposite differences of what they *sent*, so the sum over learners is conserved whatever
lands in between (`dualrt.core.weights`). A responder always answers, at once, in a strand of its
own: nobody waits for a learner that computes, and there is no cycle of waiting in any graph.

When a peer is lost, the averaging of that round is the identity for the pair, which is doubly
stochastic still. The driver says when (`PeerLostError`): after a while at first, and at once as
long as it knows the peer to be gone.

Offers to a peer have ascending numbers, and an answer has the number of its offer. So each is
applied at most once, however often it comes: R answers no number that it has passed, and I takes
no number twice. An answer that comes after I gave up is applied with what I had sent then, since R
has averaged already, and a difference is right at any time. For that I keeps the last `KEPT` offers
that it gave up, and at the end waits once more for whoever was only silent; those that are dropped
or never answered are counted as abandoned (docs/decisions/0015-lost-peers.md).
"""

from __future__ import annotations

from typing import Any, NamedTuple, final

from dualrt.algorithms.exchange import NOTHING, Exchange
from dualrt.core.effects import Awaited, Body, Packet, Recv, Send, Together
from dualrt.core.errors import Loss, PeerLostError, StalledError
from dualrt.core.learner import Learner, Shares
from dualrt.core.weights import Gradient, Partner, Snapshot

KEPT = 8
"""Offers that a learner gave up and keeps for a late answer, each of a model's size."""

INCARNATION_BITS = 40
"""Room for the numbers of one incarnation; the next one's are larger: no peer has passed them."""


class _Offer(NamedTuple):
    """What was sent and given up."""

    mine: Snapshot[Any]
    share: float
    loss: Loss


@final
class Delta(Exchange):
    """Differences of what both ends sent, applied whenever they arrive."""

    one_sided = False
    holds_updates = False
    outlives_peers = True
    bears_disorder = True  # by the numbers of offers and answers

    def __init__(self, learner: Learner) -> None:
        super().__init__(learner)
        self._before_first = learner.seat.incarnation << INCARNATION_BITS
        self._offered: dict[int, int] = {}
        """The number of the newest offer to each peer."""
        self._passed: dict[int, int] = {}
        """The number of the newest offer from each peer."""
        self._given_up: dict[tuple[int, int], _Offer] = {}
        """By peer and number, oldest first."""

    def average(self, shares: Shares) -> Awaited[object]:
        """All exchanges at once."""
        if not shares:
            return NOTHING
        exchanges = [self.initiate(peer, share) for peer, share in shares]
        return exchanges[0] if len(exchanges) == 1 else Together(*exchanges)

    async def initiate(self, peer: int, share: float) -> None:
        """Offer, wait for the answer, apply the difference."""
        mine = self.weights.offer(peer)
        number = self._next_number(peer)
        note = number, share, self.learner.life
        await Send(peer, "offer", Packet(mine.versions, mine.vector, note))
        try:
            theirs, partner = await self._answer_to(peer, number)
        except PeerLostError as lost:
            self._give_up(peer, number, _Offer(mine, share, lost.loss))
            return
        # One that has just been started again has nothing to average with.
        if theirs is not None:
            self.weights.heed(peer, theirs.vector)
            await self.learner.blend(mine, theirs, share, partner=partner)

    async def answer(self) -> None:
        """Answer first, so that the initiator waits for no blend."""
        while True:
            initiator, offer = await Recv("offer")
            number, share, life = offer.note
            if number <= self._passed.get(initiator, 0):
                continue
            self._passed[initiator] = number
            asked = offer.body
            mine = self.weights.sent() if asked is None else self.weights.answer(asked)
            note = number, self.learner.life
            await Send(initiator, "answer", Packet(mine.versions, mine.vector, note))
            if asked is not None:
                theirs, partner = Snapshot(asked, offer.versions), Partner(initiator, life)
                await self.learner.blend(mine, theirs, share, partner=partner)

    def update(self, gradient: Gradient[Any], read: Snapshot[Any]) -> Body[None]:
        """At once: a difference that is under way stays right."""
        return self.learner.descend(gradient, read)

    async def turn_away(self) -> None:
        """Answer nothing to whoever offers, and average with nobody, until `have_weights`."""
        while True:
            try:
                initiator, offer = await Recv("offer")
            except StalledError:
                # Nobody has to offer anything.
                continue
            if offer.note is None:
                return
            number, *_ = offer.note
            self._passed[initiator] = max(number, self._passed.get(initiator, 0))
            await Send(initiator, "answer", Packet(note=(number, self.learner.life)))

    async def have_weights(self) -> None:
        """A message to oneself, as what awaits a message heeds nothing else."""
        await Send(self.learner.rank, "offer", Packet())

    async def ask(self, peer: int) -> Snapshot[Any] | None:
        """An offer of nothing, which is answered like any other."""
        number = self._next_number(peer)
        await Send(peer, "offer", Packet(note=(number, 0.0, self.learner.life)))
        theirs, _ = await self._answer_to(peer, number)
        return theirs

    @property
    def given_up(self) -> int:
        """Offers whose answers may still come."""
        return len(self._given_up)

    async def finish(self) -> None:
        """Wait once more for each peer that was silent."""
        for peer in dict.fromkeys(peer for peer, _ in self._given_up):
            try:
                while self._may_answer(peer):
                    _, answer = await Recv("answer", peer)
                    await self._take_late(peer, answer)
            except PeerLostError:
                continue
        self.learner.abandoned += len(self._given_up)
        self._given_up.clear()

    async def _answer_to(self, peer: int, number: int) -> tuple[Snapshot[Any] | None, Partner]:
        """What the peer had when it was made that offer, and in which life; None if nothing yet."""
        while True:
            _, answer = await Recv("answer", peer)
            answered, life = answer.note
            if answered == number:
                body = answer.body
                theirs = None if body is None else Snapshot(body, answer.versions)
                return theirs, Partner(peer, life)
            await self._take_late(peer, answer)

    async def _take_late(self, peer: int, answer: Packet) -> None:
        """The answer to an offer that was given up, or one that was taken already."""
        number, life = answer.note
        offer = self._given_up.pop((peer, number), None)
        if offer is not None and answer.body is not None:
            theirs, partner = Snapshot(answer.body, answer.versions), Partner(peer, life)
            await self.learner.blend(offer.mine, theirs, offer.share, partner=partner)

    def _next_number(self, peer: int) -> int:
        number = self._offered[peer] = self._offered.get(peer, self._before_first) + 1
        return number

    def _may_answer(self, peer: int) -> bool:
        return any(
            silent == peer and offer.loss is Loss.SILENT
            for (silent, _), offer in self._given_up.items()
        )

    def _give_up(self, peer: int, number: int, offer: _Offer) -> None:
        if offer.loss is Loss.KNOWN:
            return
        self._given_up[peer, number] = offer
        if len(self._given_up) > KEPT:
            del self._given_up[next(iter(self._given_up))]
            self.learner.abandoned += 1
