"""Truce: how learners agree on an instant at which their states fit together, and keep them.

Owns the agreement. Must not know an algorithm, which only says how it pauses, nor how a state is
written. The *leader* is the lowest rank that is not lost; all of this goes by the same gossip.

    leader                                       every learner, the leader too
    -- when: attempt -->
                                <-- ready: n --  ALIGNED: at once: n is the next of its points
                                                 between steps, and there it waits for `take`.
                                                 DRAINED: once it waits at such a point; n is what
                                                 it knows of all updates
    -- take: n, the largest -->                  ALIGNED: at its n-th point, not before
                                                 DRAINED: once what others sent is worked off
                                   <-- taken --  has its state in hand    } DRAINED alone: who goes
    -- go -->                                    goes on                  } on may send again
                                 <-- written --  meanwhile a thread has written the state
    -- complete -->
    -- off -->                                   instead of any of these: nothing is kept

ALIGNED, nobody can be beyond the n-th point, since each has promised to wait at its own next one;
and as all answer at once, whatever they do, nobody waits for long. DRAINED, all exchanges that a
learner began are over where it waits, and once nobody begins another, what is left is in the
mailboxes of those that answer.

Who is asked to end (`preempt`) asks the leader for a last checkpoint, of the whole run; all end
when it is complete.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias, final

from dualrt.core.effects import Packet, Recv, Send
from dualrt.core.errors import DualrtError, PreemptedError, RunError
from dualrt.core.keeping import Pause, State
from dualrt.core.learner import Learner
from dualrt.real.checkpoint import Checkpoints
from dualrt.real.events import Events
from dualrt.real.gate import Gate
from dualrt.real.gossip import Gossip

TAG = "checkpoint"
"""Of all messages of ours."""

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


@dataclass(slots=True)
class _Part:
    """This learner's part in an attempt."""

    leader: int
    attempt: int
    last: bool
    number: int | None = None
    """What `take` said."""
    state: State | None = None
    taken: bool = False
    may_go: bool = False
    over: bool = False


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
    number: int = 0


@final
class Truce:
    """One learner's end of all agreements; its `Keeper`.

    Parameters: `quiet` waits until the strands that answer others have nothing to do, `stop` ends
    this process's run. Every wait takes `timeout_s` at most.
    """

    def __init__(
        self,
        learner: Learner,
        gossip: Gossip,
        keeping: Keeping,
        *,
        timeout_s: float,
        events: Events,
        quiet: Callable[[float], bool],
        stop: Callable[[DualrtError], None],
    ) -> None:
        self._learner, self._gossip, self._checkpoints = learner, gossip, keeping.checkpoints
        self._rank, self._keeping, self._timeout_s = learner.rank, keeping, timeout_s
        self._events, self._quiet, self._stop = events, quiet, stop
        layout = learner.seat.layout
        self._aligned = layout.pause is Pause.ALIGNED
        self._takes_back, self._replicas = layout.takes_back, len(layout.replicas)
        # Guards and announces this learner's part.
        self._gate = Gate()
        self._part: _Part | None = None
        self._point = 0
        """How many points between steps it has come to."""
        self._over = False
        self._starting = self._asked = self._asks = False
        self._attempt: _Attempt | None = None
        self._count = learner.seat.incarnation << INCARNATION_BITS
        self._number, self._measured = keeping.after, self._measure()
        self._kept_s = time.monotonic()
        self._leaving: set[int] | None = None
        """At the end, whom the leader waits for."""
        self._farewell: PreemptedError | None = None
        """What it ends with then."""
        self._end: PreemptedError | None = None
        """What to end with now."""
        self._writer: threading.Thread | None = None
        gossip.watch(self._notice)

    # The strand that trains.

    def due(self) -> bool:
        """Whether to call `keep` now."""
        with self._gate:
            self._point += 1
            part = self._part
        self._start_in_time()
        if part is None or part.taken:
            return False
        if self._aligned:
            return part.number is None or part.number == self._point
        return self._learner.holds

    def keep(self) -> None:
        """Wait, take the state, and go on; at the last one, wait for the end."""
        part = self._part
        if part is None:
            return
        if self._aligned:
            ready = self._wait(part, lambda: part.number is not None)
            if not ready or part.number != self._point:
                return
            self._take(part, self._measure())
        else:
            self._say(part, "ready", self._learner.updates)
            if not self._wait(part, lambda: part.number is not None):
                return
            if not self._quiet(self._timeout_s):
                self._say(part, "ready", None, "learners that answer others did not come to rest")
                self._wait(part, lambda: False)
                return
            self._take(part, part.number or 0)
            self._say(part, "taken")
            if not self._wait(part, lambda: part.may_go):
                return
        self._write(part)
        if part.last:
            self._wait(part, lambda: False)

    def over(self) -> None:
        """The learner has taken its last step: nothing is kept any more."""
        with self._gate:
            self._over, part = True, self._part
        if part is not None and not part.taken:
            self._say(part, "ready", None)

    def close(self) -> None:
        """Wait for what is being written; to be called where a run ends well."""
        if self._writer is not None:
            self._writer.join(self._timeout_s)

    def stop(self, error: BaseException) -> None:
        """End all waits."""
        self._gate.close(error)

    # Any thread.

    def preempt(self) -> None:
        """Take a last checkpoint and end with PreemptedError; without one after `timeout_s`."""
        why = f"the others had not agreed on one within {self._timeout_s:g} s"
        in_vain = threading.Timer(self._timeout_s, self._stop, (PreemptedError(None, why),))
        in_vain.daemon = True
        in_vain.start()
        self._tell_ourselves("asked")

    def _notice(self, peer: int, why: str | None) -> None:
        if why is not None:
            self._tell_ourselves("lost", peer)

    # The strand that attends to the agreement.

    async def attend(self) -> None:
        """Answer the leader, or lead: the body of a daemon."""
        while True:
            sender, packet = await Recv(TAG)
            for peer, note in self.heed(sender, *packet.note):
                await Send(peer, TAG, Packet(note=note))
            if self._end is not None:
                self._stop(self._end)
                return

    def heed(self, sender: int, word: str, *told: Any) -> Letters:
        """What is to be sent for a word that came."""
        match word:
            case "start":
                return self._start()
            case "asked":
                return self._heed_asked(sender)
            case "lost":
                return self._heed_lost(*told)
            case "when":
                return self._heed_when(sender, *told)
            case "left":
                return self._heed_left(sender)
        attempt, *rest = told
        if word in ("take", "go", "complete", "off"):
            part = self._part
            if part is None or (part.leader, part.attempt) != (sender, attempt):
                return []
            return self._heed_leader(part, word, *rest)
        if self._attempt is None or self._attempt.attempt != attempt:
            return []
        return self._heed_member(self._attempt, sender, word, *rest)

    def _heed_when(self, leader: int, attempt: int, last: bool) -> Letters:
        with self._gate:
            if self._over:
                return [(leader, ("ready", attempt, None))]
            if self._part is not None:
                return [(leader, ("ready", attempt, None, "another one is under way"))]
            self._part = _Part(leader, attempt, last)
            if self._aligned:
                return [(leader, ("ready", attempt, self._point + 1))]
        if not self._learner.holds:
            return [(leader, ("ready", attempt, self._learner.updates))]
        return []

    def _heed_leader(self, part: _Part, word: str, *told: Any) -> Letters:
        led = not self._aligned and not self._learner.holds
        match word:
            case "take":
                if led:
                    self._take(part, told[0])
                    return [(part.leader, ("taken", part.attempt))]
                self._change(lambda: setattr(part, "number", told[0]))
            case "go":
                if led:
                    self._write(part)
                self._change(lambda: setattr(part, "may_go", True))
            case "complete" if part.last:
                return self._end_with(part, PreemptedError(told[0]))
            case "off" if part.last and told[1]:
                return self._end_with(part, PreemptedError(None, told[0]))
            case _:
                self._leave(part)
        return []

    def _end_with(self, part: _Part, error: PreemptedError) -> Letters:
        """Others than the leader end first, who would take it for lost.

        Until then the strand that trains stays where it waits.
        """
        if part.leader != self._rank:
            self._end = error
            return [(part.leader, ("left",))]
        self._leaving = {peer for peer in self._living() if peer != self._rank}
        self._farewell = error
        return self._heed_left(self._rank)

    def _heed_left(self, peer: int) -> Letters:
        if self._leaving is not None:
            self._leaving.discard(peer)
            if not self._leaving:
                self._end = self._farewell
        return []

    def _heed_lost(self, peer: int) -> Letters:
        letters: Letters = []
        part = self._part
        if part is not None and part.leader == peer:
            kept = part.number if part.last and part.taken else None
            if kept is not None and self._checkpoints.whole(kept):
                # It has ended, and its word did not reach us.
                self._end = PreemptedError(str(self._checkpoints.path(kept)))
                return []
            self._leave(part)
        if self._attempt is not None and peer in self._attempt.members:
            if self._takes_back:
                self._attempt.members.discard(peer)
                self._attempt.said.pop(peer, None)
                letters += self._advance(self._attempt)
            else:
                letters += self._call_off(f"learner {peer} is lost")
        if self._asks:
            # Perhaps ourselves, now.
            letters.append((self._leader(), ("asked",)))
        return letters + self._heed_left(peer)

    # What the leader does there.

    def _heed_asked(self, sender: int) -> Letters:
        self._asks |= sender == self._rank
        if self._leader() != self._rank:
            return [(self._leader(), ("asked",))] if sender == self._rank else []
        self._asked = True
        return self._start() if self._attempt is None and self._leaving is None else []

    def _start(self) -> Letters:
        self._starting = False
        letters: Letters = []
        if self._attempt is not None:
            if time.monotonic() - self._attempt.began_s < self._timeout_s:
                return []
            letters = self._call_off(f"it was not complete after {self._timeout_s:g} s")
        self._measured, self._kept_s = self._measure(), time.monotonic()
        members = self._living()
        if self._over or (len(members) < self._learner.seat.learners and not self._takes_back):
            return letters
        self._count += 1
        self._attempt = _Attempt(self._count, self._asked, set(members), self._kept_s)
        when = ("when", self._count, self._asked)
        return letters + [(peer, when) for peer in members]

    def _heed_member(self, attempt: _Attempt, peer: int, word: str, *told: Any) -> Letters:
        if word == "ready" and told[0] is None:
            return self._call_off(*told[1:])
        if word == "written" and told[1] is not None:
            return self._call_off(told[1], final=True)
        if word == attempt.stage:
            attempt.said[peer] = told
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
        try:
            self._checkpoints.complete(number, parts, self._keeping.kept)
        except RunError as error:
            return self._failed(attempt, str(error), final=True)
        path = str(self._checkpoints.path(number))
        self._events.info("checkpoint_kept", f"checkpoint {path} is complete", path=path)
        again = self._asked and not attempt.last
        return to_all("complete", path) + (self._start() if again else [])

    def _call_off(self, why: str = "", final: bool = False) -> Letters:
        """Nothing is kept; `why` is empty where the run is about to end."""
        attempt, self._attempt = self._attempt, None
        return [] if attempt is None else self._failed(attempt, why, final)

    def _failed(self, attempt: _Attempt, why: str, final: bool) -> Letters:
        if why:
            self._events.warning("checkpoint_failed", f"no checkpoint was kept: {why}", why=why)
        letters = self._to_all(attempt, "off", why, final)
        again = self._asked and why and not (final and attempt.last)
        return letters + (self._start() if again else [])

    def _to_all(self, attempt: _Attempt, word: str, *told: Any) -> Letters:
        return [(peer, (word, attempt.attempt, *told)) for peer in sorted(attempt.members)]

    def _start_in_time(self) -> None:
        """Have an attempt begin, if it is time and this learner leads."""
        steps, seconds_s = self._keeping.steps, self._keeping.seconds_s
        if self._starting:
            return
        if steps is not None:
            due = self._measure() // steps > self._measured // steps
        else:
            due = time.monotonic() - self._kept_s >= (seconds_s or 0)
        if due and self._leader() == self._rank:
            self._starting = True
            self._tell_ourselves("start")

    def _leader(self) -> int:
        return self._living()[0]

    def _living(self) -> Sequence[int]:
        lost = self._gossip.lost
        return [rank for rank in range(self._learner.seat.learners) if rank not in lost]

    def _measure(self) -> int:
        """Steps of a learner, on average, as far as is known here; in lock-step, everybody's."""
        return self._learner.updates // self._replicas

    # This learner's part.

    def _take(self, part: _Part, number: int) -> None:
        state = self._learner.state()
        with self._gate:
            part.number, part.state, part.taken = number, state, True

    def _write(self, part: _Part) -> None:
        self._writer = threading.Thread(
            target=self._written, args=(part,), name="checkpoint", daemon=True
        )
        self._writer.start()

    def _written(self, part: _Part) -> None:
        number, state = part.number, part.state
        part.state = None
        assert number is not None
        assert state is not None
        said: tuple[Any, ...]
        try:
            said = ("written", (number, self._checkpoints.write(number, state)), None)
        except RunError as error:
            said = ("written", None, str(error))
        # If the run was stopped meanwhile, nobody wants to know.
        with suppress(DualrtError):
            self._say(part, *said)

    def _wait(self, part: _Part, until: Callable[[], bool]) -> bool:
        """Whether it came true; else the attempt is over, if need be by our leaving it."""
        with self._gate:
            self._gate.wait(lambda: part.over or until(), self._timeout_s)
            if part.over:
                return False
            if until():
                return True
        self._leave(part)
        return False

    def _leave(self, part: _Part) -> None:
        with self._gate:
            part.over = True
            if self._part is part:
                self._part = None
            self._gate.announce()

    def _change(self, change: Callable[[], None]) -> None:
        with self._gate:
            change()
            self._gate.announce()

    def _say(self, part: _Part, word: str, *told: Any) -> None:
        self._gossip.send(part.leader, TAG, Packet(note=(word, part.attempt, *told)))

    def _tell_ourselves(self, word: str, *told: Any) -> None:
        self._gossip.send(self._rank, TAG, Packet(note=(word, *told)))
