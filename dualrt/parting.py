"""Parting: what the processes of a run leave when it is over, and how rank 0 comes by it.

Owns what a replica leaves, what each process of a real run adds to it, and the two figures that
follow from all replicas' leavings alone. Must not know how a run was made or what is told of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from dualrt.core.errors import RunError
from dualrt.core.learner import Learner
from dualrt.core.workload import Workload
from dualrt.observe.digest import TimingDigest
from dualrt.observe.lives import dead
from dualrt.observe.tally import Tally

if TYPE_CHECKING:
    import torch

    from dualrt.real.session import Session


@dataclass(frozen=True, slots=True)
class Final:
    """A replica at the end: its weights, and what averaging moved in if that was audited."""

    weights: Any
    unexplained: Any = None

    @classmethod
    def of(cls, learner: Learner) -> Final:
        """What this learner leaves."""
        return cls(learner.weights.snapshot().vector, learner.weights.unexplained())

    @property
    def vectors(self) -> tuple[Any, ...]:
        """Both, as far as they are there."""
        return (self.weights,) if self.unexplained is None else (self.weights, self.unexplained)


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


class _Figures(msgspec.Struct):
    """What each process of a real run sends to rank 0 beside its weights."""

    tally: Any
    timing_digest: str
    incarnation: int
    abandoned: int
    versions: list[int]


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
    from dualrt.real.session import Contribution

    vectors = Final.of(learner).vectors if learner.is_replica else ()
    figures = msgspec.msgpack.encode(
        _Figures(
            tally.to_builtins(),
            digest.hexdigest(),
            learner.seat.incarnation,
            learner.abandoned,
            list(learner.weights.known()),
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
        Final(*(vector.to(device) for vector in part.vectors))
        for part in gathered.values()
        if part.vectors
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


def imbalance(workload: Workload[Any], finals: Sequence[Final]) -> float | None:
    """The largest entry of the sum over replicas of what no gradient explains; 0 is ideal.

    None where that was not audited.
    """
    unexplained = [final.unexplained for final in finals if final.unexplained is not None]
    if not unexplained:
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
