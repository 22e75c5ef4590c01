"""Two hosts to test with, and what torchrun is told on each.

Must not know how hosts are made (`benchmarks.hosts`).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks.hosts import Host, cable, can_be_made

PORT = 29511
TORCHRUN = Path(sys.executable).with_name("torchrun")

MARKS = [
    pytest.mark.root,
    pytest.mark.skipif(not can_be_made(cable()), reason="needs root and `ip netns`"),
]
"""Of all tests that need them."""


def torchrun(hosts: Sequence[Host], number: int, *words: str) -> list[str]:
    """The command that starts two processes of dualrt on a host, as part of four."""
    launch = [str(TORCHRUN), "--nnodes=2", f"--node-rank={number}", "--nproc-per-node=2"]
    meet = [f"--master-addr={hosts[0].address}", f"--master-port={PORT}"]
    return [*hosts[number].prefix, *launch, *meet, "-m", "dualrt", *words]
