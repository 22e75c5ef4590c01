"""Ports: those that a run may listen at, and which of them a learner tries first.

Owns the order, and the words for when none is left. Must not know what listens.

Where a firewall lets only a few ports through, a scenario names them (`real.ports`). Learners of
one host begin at different ones, so that they seldom meet; a port is taken by binding to it, never
by looking whether it is free.
"""

from __future__ import annotations

from collections.abc import Iterator

from dualrt.core.errors import UsageError

ANY = range(0)
"""No range: the system chooses, and chooses what is free."""


def in_turn(ports: range, rank: int) -> Iterator[int]:
    """Every port once, from the one of that rank on; 0, which is the system's choice, for `ANY`."""
    if not ports:
        yield 0
        return
    for place in range(len(ports)):
        yield ports[(rank + place) % len(ports)]


def none_left(ports: range, interface: str, why: str) -> UsageError:
    """The error to raise when each was tried; `why` is what the system said of the last."""
    return UsageError(
        f"none of the ports {named(ports)} of {interface!r} can be had ({why}); "
        "widen the range (real.ports), or end what holds them: `ss -ltnp` lists it"
    )


def named(ports: range) -> str:
    """As a scenario writes it: 20000-20100."""
    return f"{ports[0]}-{ports[-1]}"
