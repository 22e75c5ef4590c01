"""Invariants: what must hold of any run, whatever goes wrong in it.

Owns the judgements, each a function from `Evidence` to what is wrong, or to why it cannot be told.
Must not know how a run came about.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeAlias

from dualrt.core.errors import DeadlockError, DualrtError, PeerLostError
from dualrt.core.faults import Detection, GivenUp, Toll
from dualrt.core.records import Update
from dualrt.observe.summary import Summary
from dualrt.swarm.witness import Witness

STALENESS_SLACK = 4
"""How many times as stale as in the calm run an update may be once all has healed, beside a step of
each learner: random times differ from run to run."""

STEPS_A_HOP = 2
"""Steps that news take from a learner to the next, at each of as many learners as there are."""

STEPS_TO_PROGRESS = 5
"""Steps of the slowest learner of the calm run within which everyone must have made one."""

ROUNDING = 1e4
"""Units in the last place of the largest weight that the sum over learners may be off by, for each
learner: thousands of averages round."""


@dataclass(frozen=True, slots=True)
class Calm:
    """The run without faults, as far as others are measured by it."""

    elapsed_s: float
    updates: int
    active: tuple[int, ...]
    """Learners that apply updates."""
    slowest_step_s: float
    staleness: int


@dataclass(frozen=True, slots=True)
class Evidence:
    """One run: what was asked of it, what was seen, how it ended."""

    witness: Witness
    calm: Calm
    detection: Detection
    healed_s: float
    """When the last fault was over; inf if one never is."""
    loses: bool
    """Whether faults were such that a message or a learner may have been lost."""
    crashes_alone: bool
    """Whether messages go their way, so that those alone are lost that are of or to the dead."""
    outlives_peers: bool
    """Whether the algorithm is to go on then."""
    error: DualrtError | None
    """What ended it, if it failed."""
    summary: Summary | None
    toll: Toll | None
    scale: float | None
    """The largest weight, times the precision that it is kept in; None without numbers."""

    @property
    def stopped(self) -> bool:
        """Whether it ended as it may where an algorithm needs everyone."""
        lost = isinstance(self.error and self.error.__cause__, PeerLostError)
        return lost and self.loses and not self.outlives_peers

    @property
    def settled_s(self) -> float:
        """When what faults began has come to its end: waits, and what is known of others."""
        return self.healed_s + 2 * self.detection.timeout_s + 2 * self.calm.slowest_step_s


@dataclass(frozen=True, slots=True)
class Finding:
    """A violated invariant."""

    invariant: str
    problem: str


class NotChecked(Exception):  # noqa: N818 - no error: the run gives no occasion
    """Why an invariant cannot be told of this run."""


Check: TypeAlias = Callable[[Evidence], str | None]
"""What is wrong, or None. Raises NotChecked."""


def no_deadlock(evidence: Evidence) -> str | None:
    """No strand waits for what cannot come."""
    return str(evidence.error) if isinstance(evidence.error, DeadlockError) else None


def end(evidence: Evidence) -> str | None:
    """The run comes to its end; an algorithm that needs everyone stops and names who is lost."""
    if evidence.error is None or evidence.stopped or no_deadlock(evidence):
        return None
    return str(evidence.error)


def conservation(evidence: Evidence) -> str | None:
    """Averaging leaves the sum over learners as it is, unless a message was lost between them.

    What the dead took with them is known by those that live.
    """
    summary, toll = _ended(evidence)
    if evidence.scale is not None and toll.crashed and summary.conservation_error is None:
        raise NotChecked("a learner was lost that all need, and nobody knows what it took")
    if summary.conservation_error is None or evidence.scale is None:
        raise NotChecked("there are no numbers, or the workload keeps no audit")
    abandoned = summary.faults.exchanges_abandoned if summary.faults else 0
    if not evidence.crashes_alone:
        if toll.crashed or toll.lost:
            raise NotChecked("a message was lost, or a learner, and messages were hindered")
        if abandoned:
            raise NotChecked("an exchange was abandoned, or the lead of a super-learner")
    allowed = ROUNDING * evidence.scale * summary.learners
    if summary.conservation_error <= allowed:
        return None
    return (
        f"nothing was lost but with the dead, and the sum over learners is off by "
        f"{summary.conservation_error:.3g}, where rounding explains {allowed:.3g}"
    )


def counting(evidence: Evidence) -> str | None:
    """Nobody knows of updates that were not made, and nobody's knowledge goes back."""
    newest: dict[int, float] = {}
    returns = dict(evidence.toll.rejoined) if evidence.toll else {}
    for made, (time_s, update) in enumerate(evidence.witness.updates):
        learner = update.learner
        if not 0 <= update.staleness <= update.missed <= made:
            return (
                f"at {time_s:.6g} s learner {learner} has missed {update.missed} updates, at most "
                f"{update.staleness} of one learner, when {made} had been made"
            )
        if time_s >= returns.get(learner, math.inf):
            del returns[learner]
            newest.pop(learner, None)
        if update.epoch < newest.get(learner, 0.0):
            return f"at {time_s:.6g} s learner {learner} knows of less than before"
        newest[learner] = update.epoch
    return None


def staleness(evidence: Evidence) -> str | None:
    """Once all has healed, gradients are no staler than without faults, but for chance."""
    summary, toll = _ended(evidence)
    if len(toll.crashed) > len(toll.rejoined):
        raise NotChecked("learners are gone for good, and with them ways for news")
    # What a partition has held back comes with the first news from behind it, all at once.
    known_s = evidence.settled_s + STEPS_A_HOP * summary.learners * evidence.calm.slowest_step_s
    _check_for_occasion(evidence, known_s)
    bound = STALENESS_SLACK * (evidence.calm.staleness + summary.learners)
    for time_s, update in _after(evidence):
        if time_s >= known_s and update.staleness > bound:
            return (
                f"at {time_s:.6g} s, {time_s - evidence.healed_s:.6g} s after the last fault, "
                f"learner {update.learner} applies a gradient that is {update.staleness} versions "
                f"stale; without faults it is {evidence.calm.staleness} at most"
            )
    return None


def progress(evidence: Evidence) -> str | None:
    """Once all has healed, everyone who is up makes updates."""
    summary, _ = _ended(evidence)
    last_s = max((time_s for time_s, _ in _after(evidence)), default=0.0)
    needed_s = STEPS_TO_PROGRESS * evidence.calm.slowest_step_s
    _check_for_occasion(evidence, evidence.settled_s + needed_s)
    down = summary.faults.down_at_the_end if summary.faults else ()
    moved = {update.learner for _, update in _after(evidence)}
    idle = [rank for rank in evidence.calm.active if rank not in moved and rank not in down]
    if not idle:
        return None
    return (
        f"the last fault was over at {evidence.healed_s:.6g} s, and learners {idle} made no update "
        f"from {evidence.settled_s:.6g} s to {last_s:.6g} s"
    )


def answers(evidence: Evidence) -> str | None:
    """Once all has healed, whoever is up answers: no wait for it is given up."""
    _, toll = _ended(evidence)
    _check_for_occasion(evidence, evidence.settled_s)
    for wait in toll.given_up:
        if wait.silent and evidence.settled_s <= wait.began_s < _last_step_s(evidence, wait):
            return (
                f"learner {wait.learner} waited for learner {wait.peer} from {wait.began_s:.6g} s "
                f"to {wait.ended_s:.6g} s in vain; the last fault was over at "
                f"{evidence.healed_s:.6g} s, and learner {wait.peer} was up"
            )
    return None


INVARIANTS: Mapping[str, Check] = MappingProxyType(
    {
        "no deadlock": no_deadlock,
        "end": end,
        "conservation": conservation,
        "counting": counting,
        "bounded staleness": staleness,
        "progress after healing": progress,
        "answers after healing": answers,
    }
)
"""By the names that people see, in the order in which they are told."""


def judge(evidence: Evidence) -> tuple[list[Finding], Mapping[str, str]]:
    """What is violated; and for each invariant that could not be told, why."""
    findings: list[Finding] = []
    untold: dict[str, str] = {}
    for name, check in INVARIANTS.items():
        try:
            problem = check(evidence)
        except NotChecked as reason:
            untold[name] = str(reason)
        else:
            if problem is not None:
                findings.append(Finding(name, problem))
    return findings, untold


def _ended(evidence: Evidence) -> tuple[Summary, Toll]:
    """The figures of a run that came to its end."""
    if evidence.summary is None:
        raise NotChecked("the run did not come to its end")
    return evidence.summary, evidence.toll or Toll()


def _check_for_occasion(evidence: Evidence, from_s: float) -> None:
    """Raise NotChecked unless updates were made from then on, when all had healed."""
    if evidence.healed_s == math.inf:
        raise NotChecked("a fault of the scenario never ends")
    if not evidence.witness.updates or evidence.witness.updates[-1][0] < from_s:
        raise NotChecked("the run ended soon after the last fault")


def _after(evidence: Evidence) -> Iterator[tuple[float, Update]]:
    settled_s = evidence.settled_s
    return ((time_s, update) for time_s, update in evidence.witness.updates if time_s >= settled_s)


def _last_step_s(evidence: Evidence, wait: GivenUp) -> float:
    # After its last step a learner waits once more for answers that were lost long before.
    return max(evidence.witness.times_s(wait.learner), default=0.0)


def precision(model: Any) -> float | None:
    """The largest weight of a delivered model, times the precision of its type; None without."""
    if not hasattr(model, "abs"):
        return None
    largest = max(1.0, float(model.abs().max()))
    return largest * (1.2e-7 if model.element_size() <= 4 else 2.3e-16)
