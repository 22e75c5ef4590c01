"""Weights: the only state that strands of one learner share.

Owns atomicity, the version vector and the audit. Must not know what a vector is made of: the
concrete weights (a torch tensor, a phantom) add the arithmetic.

Each method is one atomic step, and no lock is ever held across an await. Averaging is a **delta
blend**: the initiator I offers m_I, the responder R answers m_R and applies share * (m_I - m_R) at
once, and I applies share * (m_R - m_I) when the answer arrives. Whatever landed in between stays,
so the sum over learners is conserved exactly, with nothing locked across the network, and there is
no cycle of waiting in any graph. (Averaging a peer's weights with one's *current* ones loses the
gradients that land during the exchange.)
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Generic, NamedTuple, TypeVar

from dualrt.core.errors import RunError, UsageError
from dualrt.core.keeping import State
from dualrt.core.versions import Staleness, VersionVector

V = TypeVar("V")

FULL = "full"
"""Entries are sent as they are."""

TOP_K = "top-k"
"""Few entries are sent, those that changed most since they were averaged last."""


class Snapshot(NamedTuple, Generic[V]):
    """Weights as they stood at one instant, with the versions that had entered them."""

    vector: V
    versions: Sequence[int]


class Partner(NamedTuple):
    """A learner that is averaged with, in one of its lives: see `Learner.life`."""

    rank: int
    life: int


class Gradient(NamedTuple, Generic[V]):
    """A gradient and the mini-batch's mean loss (None where nothing is computed)."""

    vector: V
    loss: float | None


class Weights(ABC, Generic[V]):
    """One learner's weights.

    Parameters: `rank` is the learner, `learners` their number; `versions` counts their updates,
    from zero, in a representation that suits these weights.
    """

    def __init__(self, rank: int, learners: int, versions: VersionVector | None = None) -> None:
        self.rank = rank
        self.versions = VersionVector(learners) if versions is None else versions
        self.wire = FULL
        """What is sent: `FULL`, the name of a narrower type ("bfloat16"), or `TOP_K`."""
        self.clip_norm: float | None = None
        """The largest norm that a gradient is applied with; None for any."""
        self.wire_fraction = 1.0
        """With `TOP_K`, which part of all entries a message carries."""
        self.mass = 1.0
        """How much these weights count in the sum over learners that averaging conserves; another
        number than 1 where learners push (`dualrt.algorithms.sgp`). It begins as 1, and an
        algorithm that changes it keeps it."""
        self._lock = threading.Lock()
        self._copied: V | None = None
        self._taken: Snapshot[V] | None = None

    @property
    @abstractmethod
    def nbytes(self) -> int:
        """Bytes of one vector."""

    @property
    def tensors_bytes(self) -> Sequence[int]:
        """Bytes of each parameter tensor in the vector, in the model's order; they sum to `nbytes`.

        One tensor, unless the weights know of more.
        """
        return (self.nbytes,)

    @property
    def entry_bytes(self) -> int:
        """Bytes of each entry of the vector: fp32's, unless the weights are of another type."""
        return 4

    @abstractmethod
    def mean(self, vectors: Sequence[V]) -> V:
        """The mean of vectors like this learner's, summed in the order given."""

    @abstractmethod
    def _copy(self) -> V:
        """A vector that later mutations do not change."""

    def _live(self) -> V:
        """The vector itself, which mutations change; a copy where there is nothing to gain."""
        return self._copy()

    @abstractmethod
    def _descend(self, gradient: V, learning_rate: float) -> None:
        """One optimizer step."""

    @abstractmethod
    def _add(self, share: float, theirs: V, mine: V) -> None:
        """w += share * (theirs - mine)."""

    @abstractmethod
    def _replace(self, vector: V) -> None:
        """w = vector."""

    def _narrowed(self, vector: V, wire: str) -> V:
        """A copy of a vector with entries of the type that `wire` names."""
        raise UsageError(
            f"{type(self).__name__} cannot be sent as {wire}. Leave training.wire out, or define "
            "_narrowed"
        )

    def _part_to_offer(self, vector: V, peer: int) -> V:
        """The entries of a vector that an exchange with `peer` is to average, and which they are.

        From here on for weights of which a part can be sent: those that `TOP_K` makes sense for.
        """
        raise UsageError(
            f"{type(self).__name__} cannot be sent in parts. Leave training.wire out, or define "
            "_part_to_offer, _part_to_answer, _blend_part and heed"
        )

    def _part_to_answer(self, vector: V, offer: V) -> V:
        """The same entries as a peer's offer, and which others the peer should offer next."""
        raise NotImplementedError

    def heed(self, peer: int, answer: V) -> None:
        """Take note of the entries that a peer asked for, with its answer, to be offered next."""

    def _kept(self) -> State:
        """All but the versions; with the vector as "weights". Later changes do not show in it."""
        raise RunError(
            f"{type(self).__name__} cannot be kept in a checkpoint. Define _kept and _take_back"
        )

    def _take_back(self, state: State) -> None:
        """The inverse. Raises RunError for the state of other weights."""
        raise NotImplementedError

    def state(self) -> State:
        """Weights, versions, and whatever else the next steps depend on."""
        with self._lock:
            kept = self._kept()
            kept.values["versions"] = list(self.versions.freeze())
            return kept

    def restore(self, state: State) -> None:
        """Be as when `state` was taken. Raises RunError if that was of other weights."""
        with self._lock:
            self._copied = self._taken = None
            self._take_back(state)
            self.versions.restore(state.values["versions"])

    def unexplained(self) -> V | None:
        """Weights less their start less all that gradients changed: what averaging moved in.

        Each times the mass that it had. Sums to zero over replicas, to within rounding. None unless
        the weights keep count.
        """
        return None

    def dealings(self) -> Mapping[Partner, V]:
        """What each partner's averaging moved in, as far as `blend` was told of partners.

        What one end has of a life of the other is what the other has of it, but for the sign. So
        what those that live have of the dead is what the dead took with them. Empty unless the
        weights keep count.
        """
        return {}

    def _note(self, partner: Partner, share: float, theirs: V, mine: V) -> None:
        """Count share * (theirs - mine) among the dealings with a partner."""

    def _begin_anew(self) -> None:
        """Count from the present weights on: no gradient and no dealing has changed them yet."""

    def sent(self) -> Snapshot[V]:
        """The weights now, as they are sent to a peer: a snapshot, narrowed if `wire` says so.

        Both ends blend with what was sent, so averaging conserves the sum however coarse it is.
        """
        snapshot = self.snapshot()
        if self.wire in {FULL, TOP_K}:
            return snapshot
        return snapshot._replace(vector=self._narrowed(snapshot.vector, self.wire))

    def offer(self, peer: int) -> Snapshot[V]:
        """What begins an exchange with `peer`: as `sent`, or with `TOP_K` a part of it."""
        if self.wire != TOP_K:
            return self.sent()
        snapshot = self.snapshot()
        return snapshot._replace(vector=self._part_to_offer(snapshot.vector, peer))

    def answer(self, offer: V) -> Snapshot[V]:
        """What goes back for an offer: as `sent`, or with `TOP_K` the entries that it is of.

        Raises RunError for an offer of what is no part of such weights.
        """
        if self.wire != TOP_K:
            return self.sent()
        snapshot = self.snapshot()
        return snapshot._replace(vector=self._part_to_answer(snapshot.vector, offer))

    def snapshot(self) -> Snapshot[V]:
        """The weights now; the caller may keep and send them, but not write to them.

        Until the next change it is the same copy: a gradient and an offer often start together.
        """
        # The lock by hand, here and below: `with` takes three times as long, in each step.
        self._lock.acquire()
        try:
            if self._taken is None:
                if self._copied is None:
                    self._copied = self._copy()
                self._taken = Snapshot(self._copied, self.versions.freeze())
            return self._taken
        finally:
            self._lock.release()

    def view(self) -> Snapshot[V]:
        """The weights themselves, for who is done with them before they change.

        So is a learner of a single strand that takes a gradient and then applies it. It spares the
        change from having to go elsewhere, which a snapshot's reader would need. Who has them
        written to, as an `AllReduce` of them may where they are spent, has to `adopt` the result.
        """
        with self._lock:
            return Snapshot(self._live(), self.versions.freeze())

    def descend(self, gradient: V, learning_rate: float, read: Sequence[int]) -> Staleness:
        """Apply a gradient that was taken at weights whose versions were `read`.

        Counts as one update of this learner; returns how stale the gradient was.
        """
        self._lock.acquire()
        try:
            staleness = self.versions.since(read)
            self._copied = self._taken = None
            self._descend(gradient, learning_rate)
            self.versions.advance(self.rank)
            return staleness
        finally:
            self._lock.release()

    def blend(
        self,
        mine: Snapshot[V],
        theirs: Snapshot[V],
        share: float,
        partner: Partner | None = None,
    ) -> None:
        """w += share * (theirs - mine), where `mine` is what the peer was or will be sent.

        Where learners may die, `partner` says whose dealing it is.
        """
        self._lock.acquire()
        try:
            self._copied = self._taken = None
            self._add(share, theirs.vector, mine.vector)
            if partner is not None:
                self._note(partner, share, theirs.vector, mine.vector)
            self.versions.merge(theirs.versions)
        finally:
            self._lock.release()

    def adopt(self, theirs: Snapshot[V]) -> None:
        """w = theirs: what a follower does with its leader's weights."""
        with self._lock:
            self._copied = self._taken = None
            self._replace(theirs.vector)
            self.versions.merge(theirs.versions)

    def begin_from(self, theirs: Snapshot[V]) -> None:
        """w = theirs: what one that is started again does, as if that were its beginning."""
        with self._lock:
            self._copied = self._taken = None
            self._replace(theirs.vector)
            self._begin_anew()
            self.versions.merge(theirs.versions)

    def known(self) -> Sequence[int]:
        """Everyone's progress as far as it is known here, to be sent."""
        with self._lock:
            return self.versions.freeze()

    def hear(self, versions: Sequence[int]) -> None:
        """Learn of progress that no weights came with."""
        with self._lock:
            self._taken = None
            self.versions.merge(versions)

    def witness(self, learners: Sequence[int], count: int) -> None:
        """A synchronous step proved that each of `learners` has applied `count` updates."""
        with self._lock:
            self._taken = None
            self.versions.witness(learners, count)
