"""Weather: every message, blend and collective of a simulated run takes a random time longer.

Clusters are described by bandwidths and latencies, whose delays have light tails. This is for
claims that must hold however long any one message or blend takes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from random import Random
from typing import Any, TypeAlias
from unittest import mock

from dualrt.sim import driver
from dualrt.sim.clock import Clock
from dualrt.sim.network import Network, Way

Delay: TypeAlias = Callable[[Random], float]
"""Draws seconds."""

MEAN_S = 1e-3
"""As long as a gradient on the machines of `tests.support.simulated`."""

DELAYS: Mapping[str, Delay] = {
    "constant": lambda _: MEAN_S,
    "exponential": lambda random: random.expovariate(1 / MEAN_S),
    # Mean 1 ms and no variance: one in a thousand takes a hundred times as long.
    "pareto": lambda random: MEAN_S / 3 * random.paretovariate(1.5),
}


class _Stormy(Network):
    def __init__(self, env: Clock, *, delay: Delay, seed: int) -> None:
        super().__init__(env)
        self._delay, self._random = delay, Random(seed)

    def carry(self, way: Way, *args: Any, **options: Any) -> None:
        late_s = way.latency_s + self._delay(self._random)
        super().carry(way._replace(latency_s=late_s), *args, **options)


@contextmanager
def weather(delay: Delay, seed: int = 0) -> Iterator[None]:
    """Simulators made inside have it."""
    with mock.patch.object(driver, "Network", partial(_Stormy, delay=delay, seed=seed)):
        yield
