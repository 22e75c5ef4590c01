"""Findings: what the doctor says, of which learners, and what to do about it.

Owns their form and how those of several processes become one. Must not know what was looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import msgspec


class Verdict(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARN = "warn"
    """A run would start, and may be slow or misleading."""
    FAIL = "fail"
    """A run would not work."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    check: str
    """Which, in a word."""
    verdict: Verdict
    said: str
    remedy: str = ""
    learners: tuple[int, ...] = ()
    """Whom it was found at; empty: it is about all of them."""


@dataclass(frozen=True, slots=True)
class Way:
    """What was measured between two learners, a the lower rank."""

    a: int
    b: int
    round_trip_s: float
    """Of an empty message and its answer: the quickest."""
    there_bytes_per_s: float
    """From a to b."""
    back_bytes_per_s: float
    clock_offset_s: float
    """How far b's clock is ahead of a's, right to `clock_error_s` either side."""
    clock_error_s: float


@dataclass(frozen=True, slots=True)
class Report:
    """Everything."""

    learners: int
    findings: tuple[Finding, ...]
    ways: tuple[Way, ...]
    hosts: tuple[str, ...] = ()
    """Where each learner is, by rank: the host's name, and the address of its gossip."""

    @property
    def healthy(self) -> bool:
        """Whether a run would work."""
        return all(finding.verdict is not Verdict.FAIL for finding in self.findings)

    def to_json(self) -> str:
        """One object, on one line."""
        return msgspec.json.encode({"healthy": self.healthy, **msgspec.to_builtins(self)}).decode()

    @classmethod
    def from_builtins(cls, told: Any) -> Report:
        """The report that another process has told."""
        fields = {key: value for key, value in told.items() if key != "healthy"}
        return msgspec.convert(fields, cls)


def ok(check: str, said: str) -> Finding:
    """As it should be."""
    return Finding(check, Verdict.OK, said)


def warn(check: str, said: str, remedy: str) -> Finding:
    """Worth a thought."""
    return Finding(check, Verdict.WARN, said, remedy)


def fail(check: str, said: str, remedy: str = "") -> Finding:
    """Not as it must be."""
    return Finding(check, Verdict.FAIL, said, remedy)


def merged(findings: Iterable[tuple[int, Finding]], learners: int) -> list[Finding]:
    """Each finding once, with the ranks that made it; none where all did."""
    at: dict[Finding, list[int]] = {}
    for rank, finding in findings:
        at.setdefault(finding, []).append(rank)
    return [
        replace(finding, learners=() if len(ranks) == learners else tuple(ranks))
        for finding, ranks in at.items()
    ]


def listed(ranks: Sequence[int]) -> str:
    """0, 1, 2 and 5 as "learners 0-2, 5"."""
    spans: list[list[int]] = []
    for rank in sorted(ranks):
        if spans and rank == spans[-1][1] + 1:
            spans[-1][1] = rank
        else:
            spans.append([rank, rank])
    named = ", ".join(f"{a}" if a == b else f"{a}-{b}" for a, b in spans)
    return f"learner {named}" if len(ranks) == 1 else f"learners {named}"
