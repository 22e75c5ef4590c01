"""Sums: what gloo makes of a group's vectors, in one process.

Owns process groups whose members are threads. Must not know who asks.

In which order gloo adds is its own affair, and the last bits depend on it: so it is asked itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist

from dualrt.core.effects import Group
from dualrt.core.errors import RunError

HOST = "127.0.0.1"
"""Where members meet, who are all here."""


class Sums:
    """Of all groups; each is formed when it first adds. Close it."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout = timedelta(seconds=timeout_s)
        self._pools: dict[Group, ThreadPoolExecutor] = {}
        self._members: dict[Group, list[Any]] = {}

    def add(self, group: Group, vectors: Sequence[Tensor]) -> None:
        """Let each vector, in the order of ranks, be the sum of all."""
        if len(vectors) == 1:
            return
        members = self._members.get(group) or self._form(group)

        def one(place: int) -> None:
            members[place].allreduce([vectors[place]]).wait()

        self._all(group, one)

    def close(self) -> None:
        """Leave all groups."""
        self._members.clear()
        for pool in self._pools.values():
            pool.shutdown()

    def _form(self, group: Group) -> list[Any]:
        size = len(group.ranks)
        self._pools[group] = ThreadPoolExecutor(size)
        gloo: Any = dist.ProcessGroupGloo
        store = dist.HashStore()
        members: list[Any] = [None] * size

        def one(place: int) -> None:
            options = gloo._Options()
            options._devices = [gloo.create_device(hostname=HOST)]
            options._timeout = self._timeout
            members[place] = gloo(store, place, size, options)

        self._all(group, one)
        self._members[group] = members
        return members

    def _all(self, group: Group, call: Callable[[int], None]) -> None:
        """Have all members call at once, as each waits for the others."""
        calls = [self._pools[group].submit(call, place) for place in range(len(group.ranks))]
        for place, one in enumerate(calls):
            try:
                one.result()
            except RuntimeError as error:
                raise RunError(
                    f"group {group.name!r}, learner {group.ranks[place]}: torch {torch.__version__}"
                    f" cannot add its vectors: {error}"
                ) from error
