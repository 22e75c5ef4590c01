"""Hosts to measure and to test on: network namespaces of this machine, and what joins them.

Owns the namespaces, their links, how much these carry, and how TCP answers to one that is full; all
are gone when a `with` is left. Must not know what runs there. Needs root and iproute2, and for
links of a speed the kernel's tbf, which counts every byte of a frame, headers included.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import NamedTuple

PAYLOAD = 1448 / 1514
"""Part of a shaped link that is payload: packets of 1,500 bytes with TCP's headers, and Ethernet's
before them, which is what the shaper counts."""

CABLE_BURST, SWITCH_BURST = "1mb", "150kb"
"""What may pass at once after a pause. With less than a segment as the kernel makes them, 64 KiB,
each has to be cut up, which costs processor time; with much more a message outruns its link."""

NETWORK = "10.78.0"

TCP = "cubic"
"""The congestion control that Linux has where nobody has chosen. Hosts that choose none have this
machine's, on which figures would then depend."""


class Host(NamedTuple):
    """One of them."""

    name: str
    """Of its namespace."""
    address: str
    interface: str
    """Its name, another on each, as hosts of one run may have it."""
    tcp: str

    @property
    def prefix(self) -> Sequence[str]:
        """What a command begins with that is to run there."""
        return ("ip", "netns", "exec", self.name)


def can_be_made(hosts: AbstractContextManager[object]) -> bool:
    """Whether this user can make these here."""
    try:
        with hosts:
            return True
    except OSError:
        return False


@contextmanager
def cable(mbit_per_s: float | None = None, tcp: str = TCP) -> Iterator[Sequence[Host]]:
    """Two hosts, joined by a cable that carries so much in each direction, or what it can.

    Raises OSError where they cannot be made.
    """
    with _namespaces(2) as names:
        hosts = [_host(name, place, tcp) for place, name in enumerate(names)]
        first, second = hosts
        ip("link", "add", first.interface, "netns", first.name, "type", "veth",
           "peer", second.interface, "netns", second.name)  # fmt: skip
        for host in hosts:
            _bring_up(host)
            if mbit_per_s is not None:
                _shape(host.name, host.interface, mbit_per_s, CABLE_BURST)
        yield hosts


@contextmanager
def switched(number: int, mbit_per_s: float, tcp: str = TCP) -> Iterator[Sequence[Host]]:
    """Hosts at one switch, each with a cable that carries so much in each direction.

    Raises OSError where they cannot be made.
    """
    with _namespaces(number + 1) as (switch, *names):
        ip("-n", switch, "link", "add", "bridge", "type", "bridge")
        ip("-n", switch, "link", "set", "bridge", "up")
        hosts = [_host(name, place, tcp) for place, name in enumerate(names)]
        for host in hosts:
            port = f"to-{host.interface}"
            ip("link", "add", host.interface, "netns", host.name, "type", "veth",
               "peer", port, "netns", switch)  # fmt: skip
            ip("-n", switch, "link", "set", port, "master", "bridge", "up")
            _bring_up(host)
            for name, interface in ((switch, port), (host.name, host.interface)):
                _shape(name, interface, mbit_per_s, SWITCH_BURST)
        yield hosts


def slow_down(host: Host, mbit_per_s: float) -> None:
    """Have the cable of a host that was given no speed carry so much of what it sends."""
    _shape(host.name, host.interface, mbit_per_s, CABLE_BURST)


@contextmanager
def cut_off(host: Host) -> Iterator[None]:
    """A host whose cable is pulled meanwhile."""
    ip("-n", host.name, "link", "set", host.interface, "down")
    try:
        yield
    finally:
        _plug_in(host)


def ip(*words: str) -> None:
    """Run `ip`. Raises OSError with what it says."""
    done = subprocess.run(["ip", *words], check=False, capture_output=True, text=True)
    if done.returncode:
        raise OSError(f"ip {' '.join(words)}: {done.stderr.strip()}")


@contextmanager
def _namespaces(number: int) -> Iterator[Sequence[str]]:
    names: list[str] = []
    try:
        for place in range(number):
            names.append(f"dualrt{os.getpid()}-{place}")
            ip("netns", "add", names[-1])
        yield names
    finally:
        for name in names:
            # One that was not made any more, say, must not keep the others.
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


def _host(name: str, place: int, tcp: str) -> Host:
    return Host(name, f"{NETWORK}.{place + 1}", f"eth{place}", tcp)


def _bring_up(host: Host) -> None:
    """Give a host whose interface is there its address."""
    ip("-n", host.name, "link", "set", "lo", "up")
    ip("-n", host.name, "addr", "add", f"{host.address}/24", "dev", host.interface)
    _plug_in(host)


def _plug_in(host: Host) -> None:
    ip("-n", host.name, "link", "set", host.interface, "up")
    # By its route, which is new each time: not every namespace may choose for all its connections.
    ip("-n", host.name, "route", "replace", f"{NETWORK}.0/24", "dev", host.interface,
       "scope", "link", "src", host.address, "congctl", host.tcp)  # fmt: skip


def _shape(name: str, interface: str, mbit_per_s: float, burst: str) -> None:
    ip("netns", "exec", name, "tc", "qdisc", "add", "dev", interface, "root", "tbf",
       "rate", f"{mbit_per_s:g}mbit", "burst", burst, "limit", "32mb")  # fmt: skip
