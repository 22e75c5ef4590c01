"""Better: the nearest topology that does what the one at hand does not.

Owns the candidates and what "nearest" means: the least change in bytes a step. Must not know how a
candidate is judged; it asks for reports.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

from dualrt.advice.report import Demand, Report, glance
from dualrt.advice.setting import Setting
from dualrt.observe import units
from dualrt.topology import mixing, specs

RULE = "metropolis"
"""Shares that suit any graph."""

CLEARLY = 0.8
"""A graph that passes is bettered by one that needs at most this part of its rounds."""

COMPLETE = 64
"""Learners up to which everyone may talk to everyone."""


def with_better(report: Report, setting: Setting, demand: Demand) -> Report:
    """The report with the nearest better topology in it and in its verdict, if there is one.

    For a topology that fails: of the candidates that pass, the one whose bytes a step are nearest.
    For one that passes: the nearest that mixes clearly faster for no more bytes and no longer
    step.
    """
    nearest = _nearest(report, setting, demand)
    if nearest is None:
        why = "mixes clearly faster for the same bytes" if report.passed else "passes in its place"
        return replace(report, verdict=f"{report.verdict} No graph known here {why}.")
    candidate, found = nearest
    name = found.spec if candidate.mixing is None else f"{found.spec} with {found.mixing} shares"
    figures: dict[str, Any] = {
        name: getattr(found, name)
        for name in ("spec", "mixing", "second_eigenvalue", "consensus_rounds", "bytes_per_step")
    }
    return replace(
        report,
        better=figures,
        verdict=f"{report.verdict} Nearest better: {name}, "
        f"{units.counted(found.consensus_rounds, 'round')}{_price(found, report)}.",
    )


def _price(found: Report, report: Report) -> str:
    if not report.bytes_per_step:
        return ""
    times = f"{found.bytes_per_step / report.bytes_per_step:.2g}"
    return " for the same bytes" if times == "1" else f" for {times} times the bytes"


def _nearest(report: Report, setting: Setting, demand: Demand) -> tuple[Candidate, Report] | None:
    """The first that will do, in order of how much a step of it changes what is sent."""
    sent = report.messages_per_step
    if report.passed and report.consensus_rounds == 1:
        return None
    known = (
        pushed_along(report.learners, setting)
        if report.pushes
        else [*_reweighed(report), *_renumbered(report, setting),
              *candidates(report.learners, setting)]
    )  # fmt: skip
    near = sorted(known, key=lambda one: abs(one.messages_per_step - sent))
    for candidate in near:
        if report.passed and candidate.messages_per_step > sent:
            continue
        other = glance(specs.read(candidate.spec, candidate.mixing), setting, demand)
        if other.passed and _betters(other, report):
            return candidate, other
    return None


MANY = 2048
"""Learners beyond which only what mixes well at any size is looked at."""

PLACED = 512
"""Learners up to which graphs are numbered anew for the cluster: a second for each."""


class Candidate(NamedTuple):
    """A topology that may be better, and about what a learner sends in a step of it."""

    spec: str
    messages_per_step: float
    mixing: str | None = None
    """A rule or plan; None for what the specification is mixed by of itself."""


def _reweighed(report: Report) -> Iterator[Candidate]:
    """The graph itself, with shares that are doubly stochastic on any graph."""
    if report.connected and not report.passed and report.mixing not in (*mixing.PLANS, RULE):
        yield Candidate(report.spec, report.messages_per_step, RULE)


def _renumbered(report: Report, setting: Setting) -> Iterator[Candidate]:
    """The graph itself, with fewer edges between racks and between servers."""
    aware = _aware(report.learners, setting)
    name = report.spec.partition(":")[0]
    whole = name not in ("cluster-aware", *specs.PLAN_OF, *specs.DIRECTED)
    if aware and whole and report.connected and not report.passed:
        yield Candidate(f"{aware}/{report.spec}", report.messages_per_step)


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
    yield Candidate(f"one-peer-exponential:{learners}", 1.0)
    for candidate in candidates(learners, setting):
        name = candidate.spec.partition(":")[0]
        if candidate.mixing is None and name != "path" and name not in specs.PLAN_OF:
            yield candidate


def candidates(learners: int, setting: Setting) -> Iterator[Candidate]:
    """What there is for that many learners; of those that send the same, the fastest first."""
    if learners < 2:
        return
    hops = (learners - 1).bit_length()
    power_of_two = learners & (learners - 1) == 0
    if power_of_two and 4 <= learners <= MANY:  # exact in log2 n rounds
        yield Candidate(f"hypercube:{learners}", 1.0, "pairwise")
    yield Candidate(f"random-matching:{learners}", 1.0)
    if learners > MANY:
        yield Candidate(f"exponential:{learners}", 2.0 * hops - 1)
        return
    if learners > 2:
        yield Candidate(f"ring:{learners}", 2.0)
        if learners % 2 == 0:
            yield Candidate(f"bipartite-exponential:{learners}", 1.0, "pairwise")
            yield Candidate(f"alternating-ring:{learners}", 1.0)
        else:  # bipartite where no ring is
            yield Candidate(f"path:{learners}", 2.0 - 2.0 / learners)
    rows = max(side for side in range(1, int(learners**0.5) + 1) if learners % side == 0)
    if rows > 2:
        yield Candidate(f"torus:{rows}x{learners // rows}", 4.0)
    if learners > 8:
        yield Candidate(f"random-regular:{learners}x4", 4.0)
    if learners > 2 and power_of_two:
        yield Candidate(f"hypercube:{learners}", hops)
    if learners > 2 and learners % 2 == 0:
        yield Candidate(f"bipartite-exponential:{learners}", 2.0 * hops - 1)
    if learners > 2:
        yield Candidate(f"exponential:{learners}", 2.0 * hops - 1)
    aware = _aware(learners, setting)
    if aware:
        yield Candidate(f"{aware}/exponential:{learners}", 2.0 * hops - 1)
        if learners > 8:
            yield Candidate(f"{aware}/random-regular:{learners}x4", 4.0)
    if learners <= COMPLETE:
        yield Candidate(f"complete:{learners}", learners - 1.0)


def _betters(other: Report, report: Report) -> bool:
    if not report.passed:
        return True
    if other.consensus_rounds is None or report.consensus_rounds is None:
        return False
    busy_s, their_s = (one.bottleneck.busy_s if one.bottleneck else 0.0 for one in (report, other))
    return (
        other.consensus_rounds <= CLEARLY * report.consensus_rounds
        and other.bytes_per_step <= report.bytes_per_step
        and their_s <= max(busy_s, report.gradient_s)
    )
