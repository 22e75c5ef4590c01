"""Parting: what the processes of a run leave when it is over, and how rank 0 comes by it.

Owns what a replica leaves, what each process of a real run adds to it, and the two figures that
follow from all replicas' leavings alone. Must not know how a run was made or what is told of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from dualrt.core.errors import RunError
from dualrt.core.learner import Learner
from dualrt.core.workload import Workload
from dualrt.observe.digest import TimingDigest
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
    returns: int
    """How often any of these had been started again."""
    abandoned: int
    """Exchanges that they gave up, of which one side may have averaged alone."""
    tally: Tally
    timing_digest: str | None


class _Figures(msgspec.Struct):
    """What each process of a real run sends to rank 0 beside its weights."""

    tally: Any
    timing_digest: str
    incarnation: int
    abandoned: int


def gather(
    session: Session,
    learner: Learner,
    tally: Tally,
    digest: TimingDigest,
    device: torch.device,
) -> Whole | None:
    """Bring together what the processes of a run leave; None but at the collector.

    All of them call it, and replicas' vectors go to `device`. Raises RunError if there is no
    replica left.
    """
    from dualrt.real.session import Contribution

    vectors = Final.of(learner).vectors if learner.is_replica else ()
    figures = msgspec.msgpack.encode(
        _Figures(
            tally.to_builtins(),
            digest.hexdigest(),
            learner.seat.incarnation,
            learner.abandoned,
        )
    )
    gathered = session.gather(Contribution(tuple(vector.cpu() for vector in vectors), figures))
    if not gathered:
        return None
    parts = [msgspec.msgpack.decode(part.figures, type=_Figures) for part in gathered.values()]
    total = Tally(learner.seat.learners)
    for part in parts:
        total.merge(Tally.from_builtins(part.tally))
    finals = [
        Final(*(vector.to(device) for vector in part.vectors))
        for part in gathered.values()
        if part.vectors
    ]
    if not finals:
        raise RunError("every learner with weights of its own was lost at the end")
    return Whole(
        finals,
        list(gathered),
        sum(part.incarnation for part in parts),
        sum(part.abandoned for part in parts),
        total,
        hashed(part.timing_digest.encode() for part in parts),
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
