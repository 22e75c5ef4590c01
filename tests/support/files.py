"""A process that may have so many files open, and as many as before afterwards."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from dualrt.real import descriptors

ROOM = 64
"""More than this process has free numbers below those that it uses."""


@contextmanager
def at_most(soft: int) -> Iterator[None]:
    """The soft limit of this process is `soft`."""
    before, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (before, hard))


@contextmanager
def none_left() -> Iterator[None]:
    """This process can open no file more."""
    # Numbers are given out from the lowest that is free, so all below the last are taken.
    held = [os.dup(0) for _ in range(ROOM)]
    try:
        with at_most(max(held) + 1):
            yield
    finally:
        for one in held:
            os.close(one)


def harden(monkeypatch: pytest.MonkeyPatch, hard: int) -> None:
    """Have this process see a hard limit, which it could not raise again if it were one."""
    monkeypatch.setattr(descriptors, "limits", lambda: (_soft(), float(hard)))


def _soft() -> float:
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
