"""Hosts to test with: network namespaces of this machine, joined by a virtual cable.

Needs root and iproute2. Addresses are of the namespaces alone.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ADDRESSES = ("10.77.0.1", "10.77.0.2")
PORT = 29511
TORCHRUN = Path(sys.executable).with_name("torchrun")


def ip(*words: str) -> None:
    """Run `ip`."""
    subprocess.run(["ip", *words], check=True, capture_output=True)


def namespaces_work() -> bool:
    """Whether they can be made here."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return False
    probe = f"dualrt-probe-{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", probe], check=False, capture_output=True)
    if made.returncode == 0:
        ip("netns", "del", probe)
    return made.returncode == 0


MARKS = [
    pytest.mark.root,
    pytest.mark.skipif(not namespaces_work(), reason="needs root and `ip netns`"),
]
"""Of all tests that need them."""


@contextmanager
def two_hosts() -> Iterator[tuple[str, ...]]:
    """Their names; host n has ADDRESSES[n], on its interface dvn."""
    names = tuple(f"dualrt{os.getpid()}-{number}" for number in range(len(ADDRESSES)))
    for name in names:
        ip("netns", "add", name)
    try:
        cable = ["link", "add", "dv0", "netns", names[0], "type", "veth", "peer", "dv1"]
        ip(*cable, "netns", names[1])
        for number, (name, address) in enumerate(zip(names, ADDRESSES, strict=True)):
            ip("-n", name, "addr", "add", f"{address}/24", "dev", f"dv{number}")
            ip("-n", name, "link", "set", f"dv{number}", "up")
            ip("-n", name, "link", "set", "lo", "up")
        yield names
    finally:
        for name in names:
            ip("netns", "del", name)


def torchrun(host: str, number: int, *words: str) -> list[str]:
    """The command that starts two processes of dualrt on a host, as part of four."""
    launch = [str(TORCHRUN), "--nnodes=2", f"--node-rank={number}", "--nproc-per-node=2"]
    meet = [f"--master-addr={ADDRESSES[0]}", f"--master-port={PORT}"]
    return ["ip", "netns", "exec", host, *launch, *meet, "-m", "dualrt", *words]
