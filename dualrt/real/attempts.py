"""Attempts: what the leader of a truce says, from `when` to `complete` (`dualrt.real.truce`).

Owns when a checkpoint is due, what members have said, and the next word to all. Must not know how a
learner waits, nor how words travel.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from dualrt.core.errors import RunError
from dualrt.core.keeping import Pause
from dualrt.core.learner import Learner
from dualrt.real.checkpoint import Checkpoints
from dualrt.real.events import Events
from dualrt.real.gossip import Gossip

INCARNATION_BITS = 40
"""Room for the numbers of one incarnation's attempts."""

Letters: TypeAlias = list[tuple[int, tuple[Any, ...]]]
"""(to whom, note) pairs."""


@dataclass(frozen=True, slots=True)
class Keeping:
    """Which checkpoints are taken, where."""

    checkpoints: Checkpoints
    steps: int | None
    """After how many steps of a learner, on average, one is taken."""
    seconds_s: float | None
    """After how many seconds, where it is not counted in steps."""
    kept: int
    """How many stay."""
    after: int
    """The number of the newest one when the process begins; 0 if there is none."""

    def last_resort(self, learner: Learner) -> Path | None:
        """Restore the learner from the newest one that can be used; returns where that is."""
        for number in self.checkpoints.numbers():
            with suppress(RunError):
                state = self.checkpoints.load(number)
                if state is not None:
                    learner.restore(state)
                    return self.checkpoints.path(number)
        return None


class Party(NamedTuple):
    """A learner, and what it makes agreements with."""

    learner: Learner
    gossip: Gossip
    keeping: Keeping
    timeout_s: float
    events: Events


@dataclass(slots=True)
class _Attempt:
    """What the leader knows of one."""

    attempt: int
    last: bool
    members: set[int]
    began_s: float
    stage: str = "ready"
    said: dict[int, Any] = field(default_factory=dict)
    """By rank, what members have said at this stage."""


class Attempts:
    """Those of one learner, one after another, while it leads.

    `over` says whether it has taken its last step: then none begins. One that is not complete after
    the party's `timeout_s` is called off when the next is due.
    """

    def __init__(self, party: Party, over: Callable[[], bool]) -> None:
        self._learner, self._gossip, self._keeping, self._timeout_s, self._events = party
        self._over = over
        learner, keeping = party.learner, party.keeping
        layout = learner.seat.layout
        self._aligned = layout.pause is Pause.ALIGNED
        self._takes_back, self._replicas = layout.takes_back, len(layout.replicas)
        self._attempt: _Attempt | None = None
        self._starting = self._asked = False
        self._count = learner.seat.incarnation << INCARNATION_BITS
        self._number, self._measured = keeping.after, self.measure()
        self._kept_s = time.monotonic()

    def measure(self) -> int:
        """Steps of a learner, on average, as far as is known here; in lock-step, everybody's."""
        return self._learner.updates // self._replicas

    def living(self) -> Sequence[int]:
        """Who is not lost, by rank."""
        lost = self._gossip.lost
        return [rank for rank in range(self._learner.seat.learners) if rank not in lost]

    def leader(self) -> int:
        """Who leads, as far as is known here."""
        return self.living()[0]

    def due(self) -> bool:
        """Whether to `start` one now, as it is time and this learner leads; true once for each."""
        steps, seconds_s = self._keeping.steps, self._keeping.seconds_s
        if self._starting:
            return False
        if steps is not None:
            due = self.measure() // steps > self._measured // steps
        else:
            due = time.monotonic() - self._kept_s >= (seconds_s or 0)
        self._starting = due and self.leader() == self._learner.rank
        return self._starting

    def start(self) -> Letters:
        """Begin one, unless one is under way or nobody can."""
        self._starting = False
        letters: Letters = []
        if self._attempt is not None:
            if time.monotonic() - self._attempt.began_s < self._timeout_s:
                return []
            letters = self._call_off(f"it was not complete after {self._timeout_s:g} s")
        self._measured, self._kept_s = self.measure(), time.monotonic()
        members = self.living()
        if self._over() or (len(members) < self._learner.seat.learners and not self._takes_back):
            return letters
        self._count += 1
        self._attempt = _Attempt(self._count, self._asked, set(members), self._kept_s)
        when = ("when", self._count, self._asked)
        return letters + [(peer, when) for peer in members]

    def ask(self) -> None:
        """Let the next be the last."""
        self._asked = True

    @property
    def under_way(self) -> bool:
        """Whether one is."""
        return self._attempt is not None

    def heed(self, peer: int, number: int, word: str, *told: Any) -> Letters:
        """What is to be sent for a member's word about an attempt."""
        attempt = self._attempt
        if attempt is None or attempt.attempt != number:
            return []
        if word == "ready" and told[0] is None:
            return self._call_off(*told[1:])
        if word == "written" and told[1] is not None:
            return self._call_off(told[1], final=True)
        if word == attempt.stage:
            attempt.said[peer] = told
        return self._advance(attempt)

    def heed_lost(self, peer: int) -> Letters:
        """Go on without it, if learners are taken back; else call off what it was part of."""
        attempt = self._attempt
        if attempt is None or peer not in attempt.members:
            return []
        if not self._takes_back:
            return self._call_off(f"learner {peer} is lost")
        attempt.members.discard(peer)
        attempt.said.pop(peer, None)
        return self._advance(attempt)

    def _advance(self, attempt: _Attempt) -> Letters:
        """The next word to all, once all have said theirs."""
        if not attempt.members <= attempt.said.keys():
            return []
        said, attempt.said = attempt.said, {}
        to_all = partial(self._to_all, attempt)
        match attempt.stage:
            case "ready":
                largest = max(value for (value,) in said.values())
                attempt.stage = "written" if self._aligned else "taken"
                if not self._aligned:
                    largest = max(largest // self._replicas, self._number + 1)
                return to_all("take", largest)
            case "taken":
                attempt.stage = "written"
                return to_all("go")
        self._attempt = None
        parts = {peer: part for peer, ((_, part), _) in said.items()}
        self._number = number = next(iter(said.values()))[0][0]
        checkpoints = self._keeping.checkpoints
        try:
            checkpoints.complete(number, parts, self._keeping.kept)
        except RunError as error:
            return self._failed(attempt, str(error), final=True)
        path = str(checkpoints.path(number))
        self._events.info("checkpoint_kept", f"checkpoint {path} is complete", path=path)
        again = self._asked and not attempt.last
        return to_all("complete", path) + (self.start() if again else [])

    def _call_off(self, why: str = "", final: bool = False) -> Letters:
        """Nothing is kept; `why` is empty where the run is about to end."""
        attempt, self._attempt = self._attempt, None
        return [] if attempt is None else self._failed(attempt, why, final)

    def _failed(self, attempt: _Attempt, why: str, final: bool) -> Letters:
        if why:
            self._events.warning("checkpoint_failed", f"no checkpoint was kept: {why}", why=why)
        letters = self._to_all(attempt, "off", why, final)
        again = self._asked and why and not (final and attempt.last)
        return letters + (self.start() if again else [])

    def _to_all(self, attempt: _Attempt, word: str, *told: Any) -> Letters:
        return [(peer, (word, attempt.attempt, *told)) for peer in sorted(attempt.members)]
