"""Interference: computation that slows down while its device communicates.

Owns the computations under way on devices of which that is true, and their new ends whenever a
transfer or a collective begins or ends. Must not know what is computed or sent.

A collective's reduction runs on the very multiprocessors that compute, and what is sent or received
crosses the same memory. Measured on four GPUs of each of several kinds, computation that overlaps
communication took 18.9 % longer on average, and 40 % at most (arXiv 2507.03114); arXiv 2007.00156
takes the two causes apart.

The model has one number. Computation takes 1 + interference times as long while at least one of the
device's transfers (in or out, from when the message leaves its connection's queue until it has
arrived) or collectives (from when the last member has arrived until the end) is under way, and its
usual time otherwise. That is exact at any overlap: at each beginning and end, what is left of the
computation is spread out anew. Communication is not slowed by computation.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, TypeAlias

import simpy

from dualrt.core.effects import Cost
from dualrt.sim.device import Device

Done: TypeAlias = Callable[[float], None]
"""Told when the computation had started."""

Mark: TypeAlias = tuple[float, Callable[[None], None]]
"""A share of a computation's work, ascending, and what is called when so much has been done."""


class _Asked(NamedTuple):
    """A computation that is under way or waits for its turn."""

    cost: Cost
    done: Done
    marks: Sequence[Mark]


class Disturbed:
    """The devices of all learners, by rank, and who of them communicates.

    Parameters: the simulation's clock, the devices, and by how much of its time computation takes
    longer.
    """

    def __init__(
        self, env: simpy.Environment, devices: Sequence[Device], interference: float
    ) -> None:
        self._lanes = [_Lane(env, device, 1 + interference) for device in devices]

    def compute(self, rank: int, cost: Cost, done: Done, marks: Sequence[Mark] = ()) -> None:
        """Compute after all that the device was asked for before; then call `done`.

        Of each of `marks`, the second is told when the first, a share of the work, has been done.
        """
        self._lanes[rank].add(_Asked(cost, done, marks))

    def abandon(self, rank: int) -> None:
        """The learner that asked is gone: its computations end now, and a new one finds none."""
        self._lanes[rank].abandon()

    def begin(self, ranks: Iterable[int]) -> None:
        """Something that these learners send, receive or reduce begins."""
        for rank in ranks:
            self._lanes[rank].communicate(1)

    def end(self, ranks: Iterable[int]) -> None:
        """Something of that kind has ended."""
        for rank in ranks:
            self._lanes[rank].communicate(-1)


class _Lane:
    """One device: a computation under way, those that wait for it, and what disturbs them."""

    __slots__ = (
        "_communications",
        "_device",
        "_env",
        "_factor",
        "_left_s",
        "_marks",
        "_since_s",
        "_start_s",
        "_timer",
        "_waiting",
    )

    def __init__(self, env: simpy.Environment, device: Device, factor: float) -> None:
        self._env, self._device, self._factor = env, device, factor
        self._communications = 0
        self._waiting: deque[_Asked] = deque()
        """The first is under way."""
        self._marks: deque[Mark] = deque()
        """Its marks that are to come, and its end: each with the work since the one before, in
        seconds, instead of the share."""
        self._left_s = 0.0
        """What is left of it up to its next mark, in seconds without interference or slow periods,
        at `_since_s`."""
        self._since_s = self._start_s = 0.0
        self._timer = 0
        """Which timer counts. The others, whose ends have moved, stay in SimPy's queue."""

    def add(self, asked: _Asked) -> None:
        self._waiting.append(asked)
        if len(self._waiting) == 1:
            self._begin()

    def communicate(self, change: int) -> None:
        before = self._communications
        self._communications = before + change
        if self._waiting and not (before and self._communications):
            done_s = self._device.done_s(self._since_s, self._env.now)
            self._left_s = max(0.0, self._left_s - done_s / self._stretch(before))
            self._arm()

    def abandon(self) -> None:
        self._timer += 1
        left, self._waiting = self._waiting, deque()
        self._marks.clear()
        for asked in left:
            asked.done(self._env.now)

    def _begin(self) -> None:
        asked = self._waiting[0]
        self._start_s = self._env.now
        work_s, before = self._device.work_s(asked.cost), 0.0
        for share, tell in asked.marks:
            self._marks.append(((share - before) * work_s, tell))
            before = share
        self._marks.append(((1.0 - before) * work_s, self._end))
        self._left_s = self._marks[0][0]
        self._arm()

    def _arm(self) -> None:
        """Set the end of the computation under way, as it stands now."""
        self._since_s = now_s = self._env.now
        self._timer += 1
        timer = self._timer
        work_s = self._left_s * self._stretch(self._communications)
        end = self._env.timeout(self._device.stretched_s(work_s, now_s))
        end.callbacks.append(lambda _: self._pass_mark() if timer == self._timer else None)

    def _pass_mark(self) -> None:
        _, tell = self._marks.popleft()
        if self._marks:
            self._left_s = self._marks[0][0]
            self._arm()
        tell(None)

    def _end(self, _: None) -> None:
        asked, start_s = self._waiting.popleft(), self._start_s
        self._timer += 1
        if self._waiting:
            self._begin()
        asked.done(start_s)

    def _stretch(self, communications: int) -> float:
        return self._factor if communications else 1.0
