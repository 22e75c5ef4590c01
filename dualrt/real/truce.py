"""Truce: how learners agree on an instant at which their states fit together, and keep them.

Owns one learner's part; what the leader says is in `dualrt.real.attempts`. Must not know an
algorithm, which only says how it pauses, nor how a state is written. The *leader* is the lowest
rank that is not lost; all of this goes by the same gossip.

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
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, final

from dualrt.core.effects import Packet, Recv, Send
from dualrt.core.errors import DualrtError, PreemptedError, RunError
from dualrt.core.keeping import Pause, State
from dualrt.real.attempts import Attempts, Letters, Party
from dualrt.real.gate import Gate

TAG = "checkpoint"
"""Of all messages of ours."""


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
    in_vain: bool = False
    """Whether the leader has called it off, or is lost."""
    written: bool = False
    """Whether the state is there, or could not be written."""


@final
class Truce:
    """One learner's end of all agreements; its `Keeper`.

    Parameters: `quiet` waits until the strands that answer others have nothing to do, `stop` ends
    this process's run. Every wait takes the party's `timeout_s` at most.
    """

    def __init__(
        self,
        party: Party,
        *,
        quiet: Callable[[float], bool],
        stop: Callable[[DualrtError], None],
    ) -> None:
        learner, gossip = party.learner, party.gossip
        self._learner, self._gossip, self._checkpoints = learner, gossip, party.keeping.checkpoints
        self._rank, self._timeout_s = learner.rank, party.timeout_s
        self._quiet, self._stop = quiet, stop
        self._aligned = learner.seat.layout.pause is Pause.ALIGNED
        # Guards and announces this learner's part.
        self._gate = Gate()
        self._part: _Part | None = None
        self._point = 0
        """How many points between steps it has come to."""
        self._over = False
        self._asks = False
        self._attempts = Attempts(party, over=lambda: self._over)
        self._leaving: set[int] | None = None
        """At the end, whom the leader waits for."""
        self._farewell: PreemptedError | None = None
        """What it ends with then."""
        self._end: PreemptedError | None = None
        """What to end with now."""
        self._writer: threading.Thread | None = None
        self._in_vain: int | None = None
        """The set that came to nothing when this learner had its state for it, and is to go."""
        gossip.watch(self._notice)

    # The strand that trains.

    def due(self) -> bool:
        """Whether to call `keep` now."""
        with self._gate:
            self._point += 1
            part = self._part
        if self._attempts.due():
            self._tell_ourselves("start")
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
            self._take(part, self._attempts.measure())
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
        self._discard()

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
                return self._attempts.start()
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
        return self._attempts.heed(sender, attempt, word, *rest)

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
                if word == "off":
                    self._call_off(part)
                self._leave(part)
        return []

    def _end_with(self, part: _Part, error: PreemptedError) -> Letters:
        """Others than the leader end first, who would take it for lost.

        Until then the strand that trains stays where it waits.
        """
        if part.leader != self._rank:
            self._end = error
            return [(part.leader, ("left",))]
        self._leaving = {peer for peer in self._attempts.living() if peer != self._rank}
        self._farewell = error
        return self._heed_left(self._rank)

    def _heed_left(self, peer: int) -> Letters:
        if self._leaving is not None:
            self._leaving.discard(peer)
            if not self._leaving:
                self._end = self._farewell
        return []

    def _heed_lost(self, peer: int) -> Letters:
        part = self._part
        if part is not None and part.leader == peer:
            kept = part.number if part.last and part.taken else None
            if kept is not None and self._checkpoints.whole(kept):
                # It has ended, and its word did not reach us.
                self._end = PreemptedError(str(self._checkpoints.path(kept)))
                return []
            # Nobody will say that it is complete; a set that is whole stays.
            self._call_off(part)
            self._leave(part)
        letters = self._attempts.heed_lost(peer)
        if self._asks:
            # Perhaps ourselves, now.
            letters.append((self._attempts.leader(), ("asked",)))
        return letters + self._heed_left(peer)

    def _heed_asked(self, sender: int) -> Letters:
        self._asks |= sender == self._rank
        leader = self._attempts.leader()
        if leader != self._rank:
            return [(leader, ("asked",))] if sender == self._rank else []
        self._attempts.ask()
        if self._attempts.under_way or self._leaving is not None:
            return []
        return self._attempts.start()

    # This learner's part.

    def _take(self, part: _Part, number: int) -> None:
        state = self._learner.state()
        with self._gate:
            part.number, part.state, part.taken = number, state, True

    def _write(self, part: _Part) -> None:
        self._writer = threading.Thread(
            target=self._written, args=(part, self._writer), name="checkpoint", daemon=True
        )
        self._writer.start()

    def _written(self, part: _Part, before: threading.Thread | None) -> None:
        number, state = part.number, part.state
        part.state = None
        assert number is not None
        assert state is not None
        if before is not None:
            before.join(self._timeout_s)
        self._discard()
        said: tuple[Any, ...]
        try:
            said = ("written", (number, self._checkpoints.write(number, state)), None)
        except RunError as error:
            said = ("written", None, str(error))
        with self._gate:
            part.written = True
            if part.in_vain:
                self._in_vain = number
        if part.in_vain:
            self._discard()
        # If the run was stopped meanwhile, nobody wants to know.
        with suppress(DualrtError):
            self._say(part, *said)

    def _call_off(self, part: _Part) -> None:
        """What was written of it is to go, and what is being written goes when it is there."""
        with self._gate:
            part.in_vain = True
            if part.written:
                self._in_vain = part.number

    def _discard(self) -> None:
        with self._gate:
            number, self._in_vain = self._in_vain, None
        if number is not None:
            self._checkpoints.discard(number)

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
