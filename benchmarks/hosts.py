"""Hosts to measure on: network namespaces of this machine, and what joins them.

Owns the namespaces, their links and how much these carry; they are gone when a `with` is left. Must
not know what runs there. Needs root, iproute2 and the kernel's tbf, which counts every byte of a
frame, headers included.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

PAYLOAD = 1448 / 1514
"""Part of a shaped link that is payload: packets of 1,500 bytes with TCP's headers, and Ethernet's
before them, which is what the shaper counts."""

CABLE_BURST, SWITCH_BURST = "1mb", "150kb"
"""What may pass at once after a pause. With less than a segment as the kernel makes them, 64 KiB,
each has to be cut up, which costs processor time; with much more a message outruns its link."""

NETWORK = "10.78.0"
INTERFACE = "eth0"
"""Of each host."""


class Host(NamedTuple):
    """One of them."""

    address: str
    prefix: Sequence[str]
    """What a command begins with that is to run there."""


def can_be_made() -> bool:
    """Whether this user can make them here."""
    if os.geteuid() != 0 or shutil.which("ip") is None or shutil.which("tc") is None:
        return False
    try:
        with switched(1, 1000.0):
            return True
    except OSError:
        return False


@contextmanager
def cable(mbit_per_s: float) -> Iterator[Sequence[Host]]:
    """Two hosts, joined by a cable that carries so much in each direction."""
    with _namespaces(2) as names:
        _ip("link", "add", INTERFACE, "netns", names[0], "type", "veth",
            "peer", INTERFACE, "netns", names[1])  # fmt: skip
        yield [_host(name, place, mbit_per_s, CABLE_BURST) for place, name in enumerate(names)]


@contextmanager
def switched(number: int, mbit_per_s: float) -> Iterator[Sequence[Host]]:
    """Hosts at one switch, each with a cable that carries so much in each direction."""
    with _namespaces(number + 1) as (switch, *names):
        _ip("-n", switch, "link", "add", "bridge", "type", "bridge")
        _ip("-n", switch, "link", "set", "bridge", "up")
        hosts = []
        for place, name in enumerate(names):
            port = f"port{place}"
            _ip("link", "add", INTERFACE, "netns", name, "type", "veth",
                "peer", port, "netns", switch)  # fmt: skip
            _ip("-n", switch, "link", "set", port, "master", "bridge", "up")
            _shape(switch, port, mbit_per_s, SWITCH_BURST)
            hosts.append(_host(name, place, mbit_per_s, SWITCH_BURST))
        yield hosts


@contextmanager
def _namespaces(number: int) -> Iterator[Sequence[str]]:
    names: list[str] = []
    try:
        for place in range(number):
            names.append(f"dualrt-benchmark{os.getpid()}-{place}")
            _ip("netns", "add", names[-1])
        yield names
    finally:
        for name in names:
            # One that was not made any more, say, must not keep the others.
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


def _host(name: str, place: int, mbit_per_s: float, burst: str) -> Host:
    """A namespace whose interface is there, with an address and a speed."""
    address = f"{NETWORK}.{place + 1}"
    _ip("-n", name, "addr", "add", f"{address}/24", "dev", INTERFACE)
    for interface in (INTERFACE, "lo"):
        _ip("-n", name, "link", "set", interface, "up")
    _shape(name, INTERFACE, mbit_per_s, burst)
    return Host(address, ("ip", "netns", "exec", name))


def _shape(name: str, interface: str, mbit_per_s: float, burst: str) -> None:
    _ip("netns", "exec", name, "tc", "qdisc", "add", "dev", interface, "root", "tbf",
        "rate", f"{mbit_per_s:g}mbit", "burst", burst, "limit", "32mb")  # fmt: skip


def _ip(*words: str) -> None:
    """Run `ip`. Raises OSError with what it says."""
    done = subprocess.run(["ip", *words], check=False, capture_output=True, text=True)
    if done.returncode:
        raise OSError(f"ip {' '.join(words)}: {done.stderr.strip()}")
