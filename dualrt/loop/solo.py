"""Solo: checkpoints of a loop that trains alone.

Owns when one is written, and going on from one: there is nobody to agree with, so the loop's own
thread does both, between two steps. Must not know what the loop's belongings are.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import final

from torch import Tensor

from dualrt import keeping
from dualrt.core.errors import PreemptedError, RunError
from dualrt.core.keeping import State
from dualrt.loop.belongings import Belongings
from dualrt.real.events import Events
from dualrt.scenario import Scenario


@dataclass(frozen=True, slots=True)
class Kept:
    """Which checkpoints a loop wants."""

    scenario: Scenario
    wish: keeping.Wish


@final
class Solo:
    """The checkpoints of one process, whose parameters are `vector`.

    When it is made, both vector and belongings are as in the newest that can be used, if that is
    wished. Raises UsageError if there is none, RunError for belongings that cannot be kept.
    """

    def __init__(self, kept: Kept, vector: Tensor, belongings: Belongings) -> None:
        real = kept.scenario.real
        self._vector, self._belongings, self._copies = vector, belongings, real.checkpoints_kept
        self._steps, self._seconds_s = real.checkpoint_interval()
        self._checkpoints = keeping.checkpoints_of(kept.scenario, kept.wish, 0)
        self.updates = 0
        """Steps that were made before."""
        # What cannot be kept is found now.
        self._state(0)
        if kept.wish.resume:
            keeping.newest(
                self._checkpoints, kept.wish, 0, self._restored, lambda what, ours: [ours]
            )
        self._last, self._last_s = self.updates, time.monotonic()

    def keep_in_time(self, updates: int) -> None:
        """Write one, if it is time, after so many steps."""
        now_s = time.monotonic()
        if self._steps is not None:
            due = updates // self._steps > self._last // self._steps
        else:
            due = now_s - self._last_s >= (self._seconds_s or 0)
        if not due:
            return
        self._last, self._last_s = updates, now_s
        try:
            self._keep(updates)
        except RunError as error:
            why = str(error)
            Events(0).warning("checkpoint_failed", f"no checkpoint was kept: {why}", why=why)

    def last(self, updates: int) -> PreemptedError:
        """Write one after so many steps, whatever the time; what the run ends with."""
        try:
            self._keep(updates)
        except RunError as error:
            return PreemptedError(None, str(error))
        return PreemptedError(str(self._checkpoints.path(updates)))

    def _keep(self, updates: int) -> None:
        # It may have been there before, and not fit for use.
        part = self._checkpoints.write(updates, self._state(updates))
        self._checkpoints.complete(updates, {0: part}, self._copies)

    def _state(self, updates: int) -> State:
        values = {"versions": [updates], "draws": updates, "abandoned": 0}
        state = State({"weights": self._vector.detach().clone().cpu()}, values)
        self._belongings.add_to(state)
        return state

    def _restored(self, number: int) -> tuple[str, bool]:
        try:
            state = self._checkpoints.load(number)
            if state is None:
                return "it is without learner 0", False
            found = state.tensors["weights"]
            if found.shape != self._vector.shape:
                return (
                    f"it has {found.numel()} parameters, and this model {self._vector.numel()}",
                    False,
                )
            self._vector.copy_(found)
            self._belongings.take_from(state)
            [self.updates] = state.values["versions"]
        except RunError as error:
            return str(error), False
        return "", False
