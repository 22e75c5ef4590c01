"""Slowness: when a device is slow, and what that makes of a computation's time.

Owns the step function of time that says how many times as long everything takes: periods that were
asked for, and periods that come and go at random. Must not know what is computed.
"""

from __future__ import annotations

import math
import random
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from dualrt.core.errors import UsageError
from dualrt.core.faults import Slowdown

SCOPES = ("device", "server")


@dataclass(frozen=True, kw_only=True)
class SlowPeriods:
    """Periods in which a device takes `factor` times as long, with normal ones between.

    Both last exponentially distributed times, of means `mean_s` and `mean_between_s`: what load of
    other users, garbage collection or a hot chip look like from here. A run begins at a random
    instant of it. With `scope` "server" all devices of a server are slow together, with "device"
    each by itself.

    Raises `UsageError` for a factor below 1, a mean that is not positive, and an unknown scope.
    """

    factor: float
    mean_s: float
    mean_between_s: float
    scope: str = "device"

    def __post_init__(self) -> None:
        if not 1 <= self.factor < math.inf:
            raise UsageError(
                f"device: slow_periods.factor = {self.factor!r} is not a number from 1. A device "
                f"that is twice as slow has the factor 2"
            )
        for name in ("mean_s", "mean_between_s"):
            if not 0 < getattr(self, name) < math.inf:
                raise UsageError(
                    f"device: slow_periods.{name} = {getattr(self, name)!r} is not a positive "
                    f"number of seconds. Leave slow_periods out if there are none"
                )
        if self.scope not in SCOPES:
            raise UsageError(
                f"device: slow_periods.scope = {self.scope!r} is not known. Use "
                f"{' or '.join(SCOPES)}"
            )


class Slowness:
    """How slow one device is when.

    Parameters: the `slowdowns` that were asked for; `periods` that come at random, drawn from
    `draws` as far as time is asked about. Where periods overlap their factors multiply.

    Raises `UsageError` for a slowdown that ends before it starts, or whose factor is not positive
    and finite.
    """

    __slots__ = ("_boundaries_s", "_draws", "_factors", "_periods", "_slow_first", "_turns_s")

    def __init__(
        self,
        slowdowns: Sequence[Slowdown] = (),
        periods: SlowPeriods | None = None,
        draws: random.Random | None = None,
    ) -> None:
        self._boundaries_s, self._factors = _steps(slowdowns)
        self._periods, self._draws = periods, draws or random.Random(0)
        self._turns_s: list[float] = []
        self._slow_first = False
        if periods is not None:
            share = periods.mean_s / (periods.mean_s + periods.mean_between_s)
            self._slow_first = self._draws.random() < share

    def __bool__(self) -> bool:
        """Whether the device is ever slow, as far as one can know."""
        return bool(self._boundaries_s) or self._periods is not None

    def stretched_s(self, work_s: float, now_s: float) -> float:
        """How long `work_s` seconds of full speed take from `now_s` on."""
        time_s = now_s
        while True:
            factor, until_s = self._at(time_s)
            done_s = (until_s - time_s) / factor
            if done_s >= work_s:
                return time_s - now_s + work_s * factor
            work_s -= done_s
            time_s = until_s

    def done_s(self, start_s: float, end_s: float) -> float:
        """Seconds of full speed that get done between two instants."""
        done_s, time_s = 0.0, start_s
        while time_s < end_s:
            factor, until_s = self._at(time_s)
            until_s = min(until_s, end_s)
            done_s += (until_s - time_s) / factor
            time_s = until_s
        return done_s

    def _at(self, time_s: float) -> tuple[float, float]:
        """The factor at an instant, and when it may be another."""
        place = bisect_right(self._boundaries_s, time_s)
        factor = self._factors[place]
        until_s = self._boundaries_s[place] if place < len(self._boundaries_s) else math.inf
        if self._periods is None:
            return factor, until_s
        while not self._turns_s or self._turns_s[-1] <= time_s:
            self._draw_turn(self._periods)
        turn = bisect_right(self._turns_s, time_s)
        if self._is_slow(turn):
            factor *= self._periods.factor
        return factor, min(until_s, self._turns_s[turn])

    def _draw_turn(self, periods: SlowPeriods) -> None:
        slow = self._is_slow(len(self._turns_s))
        mean_s = periods.mean_s if slow else periods.mean_between_s
        last_s = self._turns_s[-1] if self._turns_s else 0.0
        self._turns_s.append(last_s + self._draws.expovariate(1 / mean_s))

    def _is_slow(self, turn: int) -> bool:
        """Whether the device is in a slow period before that turn."""
        return self._slow_first == (turn % 2 == 0)


def _steps(slowdowns: Sequence[Slowdown]) -> tuple[list[float], list[float]]:
    """Boundaries of periods in ascending order, and the factor before, between and after them."""
    for slow in slowdowns:
        if not slow.start_s < slow.end_s or not 0 < slow.factor < math.inf:
            raise UsageError(
                f"{slow} cannot be: it must end after it starts, and its factor must be positive "
                f"and finite. A device that is twice as slow has the factor 2"
            )
    edges = {edge_s for slow in slowdowns for edge_s in (slow.start_s, slow.end_s)}
    boundaries_s = sorted(edge_s for edge_s in edges if edge_s < math.inf)
    factors = [
        math.prod(slow.factor for slow in slowdowns if slow.start_s <= time_s < slow.end_s)
        for time_s in (-math.inf, *boundaries_s)
    ]
    return boundaries_s, factors
