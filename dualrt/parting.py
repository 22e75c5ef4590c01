"""Parting: what the processes of a run leave when it is over, and how rank 0 comes by it.

Owns what a replica leaves, what each process of a real run adds to it, and the model and the two
figures that follow from all replicas' leavings alone. Must not know how a run was made or what is
told of it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from math import isclose
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from dualrt.core.errors import RunError
from dualrt.core.learner import Layout, Learner
from dualrt.core.weights import Partner, Snapshot
from dualrt.core.workload import Workload
from dualrt.observe.digest import TimingDigest
from dualrt.observe.lives import dead
from dualrt.observe.tally import Tally

if TYPE_CHECKING:
    import torch

    from dualrt.real.session import Session

_ALIKE = 1e-9
"""By how much masses may differ that are the same but for rounding."""


@dataclass(frozen=True, slots=True)
class Final:
    """A replica at the end: its weights, and what averaging moved in if that was audited."""

    weights: Any
    unexplained: Any = None
    itself: Partner | None = None
    """The learner and its life; None where no learner is lost."""
    dealings: Mapping[Partner, Any] = field(default_factory=dict)
    """What of the second came from whom; without the vectors (None) where nobody was lost."""
    since_losses: bool = False
    """Whether it goes on from a checkpoint, of which no dealings are known, and somebody was lost
    before or after."""
    mass: float = 1.0
    """How much it counts in the mean, as `Weights.mass`."""

    @classmethod
    def of(cls, learner: Learner, *, losses: bool = True) -> Final:
        """What this learner leaves, with all that is known of dealings if there were `losses`."""
        weights = learner.weights
        first = learner.rank in learner.seat.layout.replicas
        return cls(
            weights.snapshot().vector,
            # Of one that has come to stand for another, whose count it has not.
            weights.unexplained() if first else None,
            Partner(learner.rank, learner.life),
            {who: moved if losses else None for who, moved in weights.dealings().items()},
            learner.restored and losses,
            weights.mass,
        )

    @property
    def vectors(self) -> tuple[Any, ...]:
        """All that are there."""
        found = (self.weights, self.unexplained, *self.dealings.values())
        return tuple(vector for vector in found if vector is not None)

    def explained(self, there: Collection[Partner | None]) -> Any:
        """What averaging moved in, but from those that are not there; None if that is unknown."""
        known = self.unexplained
        for who, moved in self.dealings.items():
            if who not in there:
                known = None if known is None or moved is None else known - moved
        return known


class Whole(NamedTuple):
    """A real run as its collector has it in the end."""

    finals: list[Final]
    """Of the replicas that are left, in the order of their ranks."""
    left: list[int]
    """The learners that are, ascending."""
    crashes: int
    """How often any learner has died, as far as that is known."""
    returns: int
    """How often any was started again."""
    abandoned: int
    """Exchanges that those that are left gave up, of which one side may have averaged alone."""
    tally: Tally
    """Of all of them, and of the dead as far as they left records."""
    uncounted: int
    """Updates that those that are left know of, and that are not in the tally."""
    timing_digest: str | None


class _Rest(msgspec.Struct):
    """What a replica leaves beside vectors, and which of these there are."""

    itself: Partner
    audited: bool
    partners: list[Partner]
    has_dealings: bool
    since_losses: bool
    mass: float

    @classmethod
    def of(cls, final: Final) -> _Rest:
        """What is to be sent of it."""
        assert final.itself is not None
        return cls(
            final.itself,
            final.unexplained is not None,
            list(final.dealings),
            any(moved is not None for moved in final.dealings.values()),
            final.since_losses,
            final.mass,
        )

    def and_vectors(self, vectors: Sequence[Any]) -> Final:
        """The replica again."""
        weights, *more = vectors
        unexplained = more.pop(0) if self.audited else None
        moved = more if self.has_dealings else [None] * len(self.partners)
        dealings = dict(zip(self.partners, moved, strict=True))
        return Final(weights, unexplained, self.itself, dealings, self.since_losses, self.mass)


class _Figures(msgspec.Struct):
    """What each process of a real run sends to rank 0 beside its weights."""

    tally: Any
    timing_digest: str
    incarnation: int
    abandoned: int
    versions: list[int]
    rest: _Rest | None
    """None of one that is no replica."""


def gather(
    session: Session,
    learner: Learner,
    tally: Tally,
    digest: TimingDigest,
    device: torch.device,
    out: Path | None = None,
) -> Whole | None:
    """Bring together what the processes of a run leave; None but at the collector.

    All of them call it, and replicas' vectors go to `device`. What the dead have done is taken from
    the records in `out`. Raises RunError if there is no replica left.
    """
    from dualrt.real.gathering import Contribution

    losses = learner.saw_losses or bool(session.lost)
    final = Final.of(learner, losses=losses) if learner.is_replica else None
    vectors = final.vectors if final else ()
    figures = msgspec.msgpack.encode(
        _Figures(
            tally.to_builtins(),
            digest.hexdigest(),
            learner.seat.incarnation,
            learner.abandoned,
            list(learner.weights.known()),
            _Rest.of(final) if final else None,
        )
    )
    gathered = session.gather(Contribution(tuple(vector.cpu() for vector in vectors), figures))
    if not gathered:
        return None
    parts = {
        rank: msgspec.msgpack.decode(part.figures, type=_Figures) for rank, part in gathered.items()
    }
    learners = learner.seat.learners
    gone = dead(out, {rank: part.incarnation for rank, part in parts.items()}, learners)
    total, uncounted = Tally(learners), 0
    for rank, its in gone.tallies.items():
        if rank in parts:
            its.merge(Tally.from_builtins(parts[rank].tally))
        known = max(part.versions[rank] for part in parts.values())
        uncounted += max(0, known - its.updates)
        total.merge(its)
    finals = [
        rest.and_vectors([vector.to(device) for vector in part.vectors])
        for rank, part in gathered.items()
        if (rest := parts[rank].rest) is not None
    ]
    if not finals:
        raise RunError("every learner with weights of its own was lost at the end")
    deaths = sum(
        max(1, lives) if rank not in parts else lives for rank, lives in gone.lives.items()
    )
    return Whole(
        finals,
        list(gathered),
        deaths,
        deaths - (learners - len(parts)),
        sum(part.abandoned for part in parts.values()),
        total,
        uncounted,
        hashed(part.timing_digest.encode() for part in parts.values()),
    )


def delivered(workload: Workload[Any], finals: Sequence[Final]) -> tuple[Any, float | None]:
    """The delivered model, which is the mean over replicas, and the consensus distance.

    Each counts with its mass: that mean is what pushing conserves. In the distance each counts
    alike.
    """
    model, distance = workload.consensus([final.weights for final in finals])
    total = sum(final.mass for final in finals)
    if all(isclose(final.mass * len(finals), total, rel_tol=_ALIKE) for final in finals):
        return model, distance
    # By a blend for each: what a vector is made of, weights alone know.
    mean = workload.weights(0)
    even = Snapshot(model, mean.known())
    mean.adopt(even)
    for final in finals:
        mean.blend(even, even._replace(vector=final.weights), final.mass / total)
    return mean.snapshot().vector, distance


def imbalance(workload: Workload[Any], finals: Sequence[Final], layout: Layout) -> float | None:
    """The largest entry of the sum over replicas of what no gradient explains; 0 is ideal.

    What replicas had of those that are not left, or in an earlier life of theirs, does not count:
    these took the other half of it with them. None where that was not audited, or is not known, as
    of one that is lost where learners need each other: they keep no account of who gave what.
    """
    if len(finals) < len(layout.replicas) and not layout.outlives_peers:
        return None
    there = {final.itself for final in finals}
    unexplained = [final.explained(there) for final in finals]
    if any(one is None for one in unexplained) or any(final.since_losses for final in finals):
        return None
    mean, _ = workload.consensus(unexplained)
    return float(abs(mean).max()) * len(unexplained)


def hashed(parts: Iterable[bytes]) -> str | None:
    """One hash over the parts in order; None if there is nothing to hash."""
    joined = blake2b(digest_size=16)
    empty = True
    for part in parts:
        joined.update(part)
        empty = empty and not part
    return None if empty else joined.hexdigest()
