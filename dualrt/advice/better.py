"""Better: the nearest topology that does what the one at hand does not.

Owns what "nearest" means: the least change in what learners and links bear, that is in partners,
bytes a step and the time that the busiest link is busy. Must not know how a candidate is judged; it
asks for reports.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

from dualrt.advice.candidates import candidates, pushed_along, renumbered, reweighed
from dualrt.advice.examination import glance
from dualrt.advice.report import Demand, Report
from dualrt.advice.setting import Setting
from dualrt.observe import units
from dualrt.topology import specs

CLEARLY = 0.8
"""A graph that passes is bettered by one that needs at most this part of its rounds."""

ALL = 128
"""Learners up to which all candidates are judged, in a second; beyond, until one will do."""

UNNOTICED = 0.01
"""Of the gradient: as long as that a link may be busy and count as idle."""


class Found(NamedTuple):
    """A candidate that will do."""

    name: str
    """In words, with its shares where they are not what its specification has of itself."""
    report: Report

    @property
    def agreed_s(self) -> float:
        """When its learners agree, if a step takes its gradient or its busiest link."""
        rounds = self.report.consensus_rounds
        step_s = max(self.report.gradient_s, _busy_s(self.report))
        return math.inf if rounds is None else rounds * step_s


def with_better(report: Report, setting: Setting, demand: Demand) -> Report:
    """The report with the nearest better topology in it and in its verdict, if there is one.

    For a topology that fails: of the candidates that pass, the nearest. For one that passes: the
    nearest that mixes clearly faster for no more bytes and no longer step. Up to `ALL` learners,
    also the one whose learners agree soonest, if that is clearly sooner.
    """
    found = list(_better(report, setting, demand))
    if not found:
        why = "mixes clearly faster for the same bytes" if report.passed else "passes in its place"
        return replace(report, verdict=f"{report.verdict} No graph known here {why}.")
    nearest = min(found, key=lambda one: _change(report, one.report))
    soonest = min(found, key=lambda one: one.agreed_s)
    verdict = f"{report.verdict} Nearest better: {_told(nearest, report)}."
    if soonest.agreed_s > CLEARLY * nearest.agreed_s:
        return replace(report, better=_figures(nearest.report), verdict=verdict)
    return replace(
        report,
        better=_figures(nearest.report),
        soonest=_figures(soonest.report),
        verdict=f"{verdict} Agreeing soonest: {_told(soonest, report)}.",
    )


def _figures(found: Report) -> dict[str, Any]:
    keys = (
        "spec", "mixing", "second_eigenvalue", "consensus_rounds", "bytes_per_step", "degree_max",
    )  # fmt: skip
    return {**{key: getattr(found, key) for key in keys}, "busy_s": _busy_s(found)}


def _told(found: Found, report: Report) -> str:
    """What it is, how fast it mixes, and what changes for learners and links."""
    other = found.report
    partners = (
        f"as many partners at most ({other.degree_max})"
        if other.degree_max == report.degree_max
        else f"{other.degree_max} partners at most and not {report.degree_max}"
    )
    busy, was = units.seconds(_busy_s(other)), units.seconds(_busy_s(report))
    link = f"the busiest link busy for {busy}" + ("" if busy == was else f" and not {was}")
    rounds = units.counted(other.consensus_rounds, "round")
    return f"{found.name}, {rounds}{_price(other, report)}: {partners}, {link}"


def _price(found: Report, report: Report) -> str:
    if not report.bytes_per_step:
        return ""
    times = f"{float(f'{found.bytes_per_step / report.bytes_per_step:.2g}'):,.9g}"
    return " for the same bytes" if times == "1" else f" for {times} times the bytes"


def _busy_s(report: Report) -> float:
    return report.bottleneck.busy_s if report.bottleneck else 0.0


def _change(report: Report, other: Report) -> float:
    """How unlike two are in what learners and links bear: each factor of two counts as 1.

    The graph itself with other shares changes nothing: its edges are there.
    """
    if other.spec == report.spec:
        return 0.0
    idle_s = UNNOTICED * report.gradient_s
    return _apart(report, other.degree_max, other.messages_per_step) + abs(
        math.log2(max(idle_s, _busy_s(other)) / max(idle_s, _busy_s(report)))
    )


def _apart(report: Report, partners: int, messages: float) -> float:
    """The same in partners and messages alone, which are known before anything is judged."""
    pairs = (partners, report.degree_max), (messages, report.messages_per_step)
    # Of a graph without edges there is nothing to be twice as much as.
    return sum(abs(math.log2((theirs or 0.5) / (own or 0.5))) for theirs, own in pairs)


def _better(report: Report, setting: Setting, demand: Demand) -> Iterator[Found]:
    """Those that will do; of many learners the first, by what changes for them."""
    if report.passed and report.consensus_rounds == 1:
        return
    known = (
        pushed_along(report.learners, setting)
        if report.pushes
        else [*reweighed(report), *renumbered(report, setting),
              *candidates(report.learners, setting)]
    )  # fmt: skip
    near = sorted(known, key=lambda one: _apart(report, one.partners, one.messages_per_step))
    for candidate in near:
        if report.passed and candidate.messages_per_step > report.messages_per_step:
            continue
        other = glance(specs.read(candidate.spec, candidate.mixing), setting, demand)
        if other.passed and _betters(other, report):
            # The graph at hand with the shares that it has of itself is told by these.
            told = candidate.mixing is not None or other.spec == report.spec
            yield Found(f"{other.spec} with {other.mixing} shares" if told else other.spec, other)
            if report.learners > ALL:
                return


def _betters(other: Report, report: Report) -> bool:
    if not report.passed:
        return True
    if other.consensus_rounds is None or report.consensus_rounds is None:
        return False
    return (
        other.consensus_rounds <= CLEARLY * report.consensus_rounds
        and other.bytes_per_step <= report.bytes_per_step
        and _busy_s(other) <= max(_busy_s(report), report.gradient_s)
    )
