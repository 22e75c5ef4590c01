"""Better: the nearest topology that does what the one at hand does not.

Owns the candidates and what "nearest" means: the least change in what learners and links bear, that
is in partners, bytes a step and the time that the busiest link is busy. Must not know how a
candidate is judged; it asks for reports.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

from dualrt.advice.report import Demand, Report, glance
from dualrt.advice.setting import Setting
from dualrt.observe import units
from dualrt.topology import PLANS, specs

RULE = "metropolis"
"""Shares that suit any graph."""

CLEARLY = 0.8
"""A graph that passes is bettered by one that needs at most this part of its rounds."""

COMPLETE = 64
"""Learners up to which everyone may talk to everyone."""

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
    times = f"{found.bytes_per_step / report.bytes_per_step:.2g}"
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
        else [*_reweighed(report), *_renumbered(report, setting),
              *candidates(report.learners, setting)]
    )  # fmt: skip
    near = sorted(known, key=lambda one: _apart(report, one.partners, one.messages_per_step))
    for candidate in near:
        if report.passed and candidate.messages_per_step > report.messages_per_step:
            continue
        other = glance(specs.read(candidate.spec, candidate.mixing), setting, demand)
        if other.passed and _betters(other, report):
            shares = "" if candidate.mixing is None else f" with {other.mixing} shares"
            yield Found(f"{other.spec}{shares}", other)
            if report.learners > ALL:
                return


MANY = 2048
"""Learners beyond which only what mixes well at any size is looked at."""

PLACED = 512
"""Learners up to which graphs are numbered anew for the cluster: a second for each."""


SLOW = 256
"""Learners from which on a graph of rounds that go up with their square is none to name."""


class Candidate(NamedTuple):
    """A topology that may be better, and about what a learner has to do with in it."""

    spec: str
    messages_per_step: float
    partners: int
    """In all its rounds together."""
    mixing: str | None = None
    """A rule or plan; None for what the specification is mixed by of itself."""


def _reweighed(report: Report) -> Iterator[Candidate]:
    """The graph itself, with shares that are doubly stochastic on any graph."""
    if report.connected and not report.passed and report.mixing not in (*PLANS, RULE):
        yield Candidate(report.spec, report.messages_per_step, report.degree_max, RULE)


def _renumbered(report: Report, setting: Setting) -> Iterator[Candidate]:
    """The graph itself, with fewer edges between racks and between servers."""
    aware = _aware(report.learners, setting)
    name = report.spec.partition(":")[0]
    whole = name not in ("cluster-aware", *specs.PLAN_OF, *specs.DIRECTED)
    if aware and whole and report.connected and not report.passed:
        yield Candidate(f"{aware}/{report.spec}", report.messages_per_step, report.degree_max)


def _aware(learners: int, setting: Setting) -> str | None:
    """What numbers learners for the cluster; None where that can save nothing."""
    cluster = setting.cluster
    gpus, servers = cluster.gpus_per_server, cluster.servers_per_rack
    rack = gpus * (servers or 1)
    if not rack < learners <= PLACED:
        return None
    shape = f"{servers}x{gpus}" if servers and gpus > 1 else f"{rack}"
    return f"cluster-aware:{-(-learners // rack)}x{shape}" if rack > 1 else None


def pushed_along(learners: int, setting: Setting) -> Iterator[Candidate]:
    """What there is for learners that push: one way, or along any edges both ways.

    Only graphs of one degree, on which the parts that are pushed are the shares that are judged.
    """
    if learners < 2:
        return
    yield Candidate(f"one-peer-exponential:{learners}", 1.0, 2 * (learners - 1).bit_length())
    for candidate in candidates(learners, setting):
        name = candidate.spec.partition(":")[0]
        if candidate.mixing is None and name != "path" and name not in specs.PLAN_OF:
            yield candidate


def candidates(learners: int, setting: Setting) -> Iterator[Candidate]:
    """What there is for that many learners; of those alike in all, the fastest first."""
    if learners < 2:
        return
    hops = (learners - 1).bit_length()
    power_of_two = learners & (learners - 1) == 0
    if power_of_two and 4 <= learners <= MANY:  # exact in log2 n rounds
        yield Candidate(f"hypercube:{learners}", 1.0, hops, "pairwise")
    yield Candidate(f"random-matching:{learners}", 1.0, learners - 1)
    if learners > MANY:
        yield Candidate(f"exponential:{learners}", 2.0 * hops - 1, 2 * hops - 1)
        return
    if 2 < learners <= SLOW:
        yield Candidate(f"ring:{learners}", 2.0, 2)
        if learners % 2 == 0:
            yield Candidate(f"alternating-ring:{learners}", 1.0, 2)
        else:  # bipartite where no ring is
            yield Candidate(f"path:{learners}", 2.0 - 2.0 / learners, 2)
    if learners > 2 and learners % 2 == 0:
        yield Candidate(f"bipartite-exponential:{learners}", 1.0, 2 * hops, "pairwise")
    rows = max(side for side in range(1, int(learners**0.5) + 1) if learners % side == 0)
    if rows > 2:
        yield Candidate(f"torus:{rows}x{learners // rows}", 4.0, 4)
    if learners > 8:
        yield Candidate(f"random-regular:{learners}x4", 4.0, 4)
    if learners > 2 and power_of_two:
        yield Candidate(f"hypercube:{learners}", hops, hops)
    if learners > 2 and learners % 2 == 0:
        yield Candidate(f"bipartite-exponential:{learners}", 2.0 * hops - 1, 2 * hops)
    if learners > 2:
        yield Candidate(f"exponential:{learners}", 2.0 * hops - 1, 2 * hops - 1)
    aware = _aware(learners, setting)
    if aware:
        yield Candidate(f"{aware}/exponential:{learners}", 2.0 * hops - 1, 2 * hops - 1)
        if learners > 8:
            yield Candidate(f"{aware}/random-regular:{learners}x4", 4.0, 4)
    if learners <= COMPLETE:
        yield Candidate(f"complete:{learners}", learners - 1.0, learners - 1)


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
