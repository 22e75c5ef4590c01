"""Verdicts: what follows from all that was measured between learners.

Owns when a way counts as slow, a clock as wrong, versions as different. Must not know how it was
measured.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from dualrt.doctor.findings import Finding, Way, fail, listed, ok, warn
from dualrt.observe.units import counted, seconds, size

SLOW = 4.0
"""How many times slower than the best of its kind a way is when it counts as slow: what other
programs and the order of things do is less."""

LATE_S = 1e-3
"""What a round trip may take longer than the quickest, beside that: threads wait for cores."""

BETWEEN, INSIDE = "between hosts", "inside a host"

SLOW_REMEDY = {
    BETWEEN: "Look at that cable, card or switch port, and at what else uses it.",
    INSIDE: "Look at what else runs on that host: threads may wait for a core.",
}

SKEW_S = 0.1
"""By how much clocks may differ."""


def between(ways: Sequence[Way], hosts: Sequence[str], model_bytes: int) -> Iterator[Finding]:
    """All of the below."""
    for kind, chosen in (
        (BETWEEN, [way for way in ways if hosts[way.a] != hosts[way.b]]),
        (INSIDE, [way for way in ways if hosts[way.a] == hosts[way.b]]),
    ):
        if chosen:
            yield from bandwidth(kind, chosen, hosts, model_bytes)
            yield latency(kind, chosen, hosts)
    yield from clocks(ways, hosts)


def bandwidth(
    kind: str, ways: Sequence[Way], hosts: Sequence[str], model_bytes: int
) -> Iterator[Finding]:
    """Which directions are slow, and who is at one end of all of these."""
    sent = [(way.a, way.b, way.there_bytes_per_s) for way in ways]
    sent += [(way.b, way.a, way.back_bytes_per_s) for way in ways]
    best, worst = max(rate for *_, rate in sent), min(rate for *_, rate in sent)
    check, slow = f"bandwidth {kind}", [one for one in sent if SLOW * one[2] < best]
    said = f"{size(worst)}/s to {size(best)}/s"
    if model_bytes:
        said += f"; a model takes {seconds(model_bytes / worst)} at the slowest"
    if not slow:
        yield ok(check, said)
        return
    shown = "; ".join(
        f"learner {a} ({hosts[a]}) to learner {b} ({hosts[b]}) {size(rate)}/s"
        for a, b, rate in sorted(slow, key=lambda one: one[2])[:4]
    )
    more = f", and {len(slow) - 4} more" if len(slow) > 4 else ""
    culprit = _culprit([(a, b) for a, b, _ in slow], hosts)
    yield warn(
        check,
        f"{said}. Slow: {shown}{more}{culprit}",
        SLOW_REMEDY[kind],
    )


def latency(kind: str, ways: Sequence[Way], hosts: Sequence[str]) -> Finding:
    """Which ways answer late."""
    check, best_s = f"latency {kind}", min(way.round_trip_s for way in ways)
    worst_s = max(way.round_trip_s for way in ways)
    said = f"there and back in {seconds(best_s)} to {seconds(worst_s)}"
    late = [(way.a, way.b) for way in ways if way.round_trip_s > SLOW * best_s + LATE_S]
    if not late:
        return ok(check, said)
    pairs = ", ".join(f"{a} and {b}" for a, b in late[:4])
    return warn(
        check,
        f"{said}. Late: {counted(len(late), 'pair')}, learners {pairs}{_culprit(late, hosts)}",
        "Look at the way between them: is it the network that you mean (real.interface)?",
    )


def clocks(ways: Sequence[Way], hosts: Sequence[str]) -> Iterator[Finding]:
    """By how much the clocks of hosts differ, as far as can be told."""
    apart = [way for way in ways if hosts[way.a] != hosts[way.b]]
    if not apart:
        return
    most_s = max(abs(way.clock_offset_s) for way in apart)
    error_s = max(way.clock_error_s for way in apart)
    said = f"{seconds(most_s)} apart at most, ± {seconds(error_s)}"
    wrong = [way for way in apart if abs(way.clock_offset_s) - way.clock_error_s > SKEW_S]
    if not wrong:
        yield ok("clocks", said)
        return
    first = max(wrong, key=lambda way: abs(way.clock_offset_s))
    ahead, behind = (first.b, first.a) if first.clock_offset_s > 0 else (first.a, first.b)
    yield warn(
        "clocks",
        f"{said}: {hosts[ahead]} is {seconds(abs(first.clock_offset_s))} ahead of {hosts[behind]}"
        f"{_culprit([(way.a, way.b) for way in wrong], hosts)}. Training does not mind, but "
        "timelines and logs of several hosts are laid over each other by their clocks",
        "Run chrony or another NTP client on every host.",
    )


def versions(said: Mapping[int, Mapping[str, str]]) -> Iterator[Finding]:
    """What is not the same everywhere."""
    for name in next(iter(said.values()), {}):
        at: dict[str, list[int]] = {}
        for rank, found in said.items():
            at.setdefault(found[name], []).append(rank)
        if len(at) > 1:
            text = ", ".join(f"{what} at {listed(ranks)}" for what, ranks in at.items())
            judge = fail if name == "dualrt" else warn
            yield judge("versions", f"{name} is {text}", "Install the same on all hosts.")


def alike(what: str, said: Mapping[int, str]) -> Iterator[Finding]:
    """A failure unless all say the same."""
    at: dict[str, list[int]] = {}
    for rank, found in said.items():
        at.setdefault(found, []).append(rank)
    if len(at) > 1:
        text = ", ".join(f"{found} at {listed(ranks)}" for found, ranks in at.items())
        yield fail(what, f"not the same everywhere: {text}", "Copy one key file to all hosts.")


def _culprit(pairs: Sequence[tuple[int, int]], hosts: Sequence[str]) -> str:
    """The one host, or else learner, that is at an end of all pairs, where there are several."""
    if len({frozenset(pair) for pair in pairs}) < 2:
        return ""
    shared_hosts = set.intersection(*({hosts[a], hosts[b]} for a, b in pairs))
    # Of ways inside one host it goes without saying.
    if len(shared_hosts) == 1 and any(hosts[a] != hosts[b] for a, b in pairs):
        return f". Host {shared_hosts.pop()} is at an end of each"
    shared = set.intersection(*({a, b} for a, b in pairs))
    return f". Learner {shared.pop()} is at an end of each" if len(shared) == 1 else ""
