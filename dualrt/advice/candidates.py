"""Candidates: the topologies that there are for a number of learners on a cluster.

Owns which are worth a look, with what a learner has to do with in each. Must not know which of them
is good.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from dualrt.advice.report import Report
from dualrt.advice.setting import Setting
from dualrt.topology import PLANS, specs

RULE = "metropolis"
"""Shares that suit any graph."""

COMPLETE = 64
"""Learners up to which everyone may talk to everyone."""

MANY = 2048
"""Learners beyond which only what mixes well at any size is looked at."""

PLACED = 512
"""Learners up to which graphs are numbered anew for the cluster: a second for each."""

SLOW = 256
"""Learners up to which graphs are named whose rounds go up with their square."""


class Candidate(NamedTuple):
    """A topology that may be better, and about what a learner has to do with in it."""

    spec: str
    messages_per_step: float
    partners: int
    """In all its rounds together."""
    mixing: str | None = None
    """A rule or plan; None for what the specification is mixed by of itself."""


def reweighed(report: Report) -> Iterator[Candidate]:
    """The graph itself, with shares that are doubly stochastic on any graph."""
    if report.connected and report.mixing not in (*PLANS, RULE):
        yield Candidate(report.spec, report.messages_per_step, report.degree_max, RULE)


def renumbered(report: Report, setting: Setting) -> Iterator[Candidate]:
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
    n, hops = learners, (learners - 1).bit_length()
    power_of_two, even, few = n & (n - 1) == 0, n % 2 == 0, 2 < n <= MANY
    rows = max((side for side in range(1, int(n**0.5) + 1) if n % side == 0), default=1)
    widely = 2.0 * hops - 1, 2 * hops - 1
    known = (
        # Exact in log2 n rounds.
        (power_of_two and few, Candidate(f"hypercube:{n}", 1.0, hops, "pairwise")),
        (n >= 2, Candidate(f"random-matching:{n}", 1.0, n - 1)),
        (2 < n <= SLOW, Candidate(f"ring:{n}", 2.0, 2)),
        (2 < n <= SLOW and even, Candidate(f"alternating-ring:{n}", 1.0, 2)),
        # Bipartite where no ring is.
        (2 < n <= SLOW and not even, Candidate(f"path:{n}", 2.0 - 2.0 / n, 2)),
        # Where there is a hypercube, that has fewer partners and is exact sooner.
        (
            even and few and not power_of_two,
            Candidate(f"bipartite-exponential:{n}", 1.0, 2 * hops, "pairwise"),
        ),
        (rows > 2 and few, Candidate(f"torus:{rows}x{n // rows}", 4.0, 4)),
        (n > 8 and few, Candidate(f"random-regular:{n}x4", 4.0, 4)),
        (power_of_two and few, Candidate(f"hypercube:{n}", hops, hops)),
        (even and few, Candidate(f"bipartite-exponential:{n}", widely[0], 2 * hops)),
        (n > 2, Candidate(f"exponential:{n}", *widely)),
    )
    yield from (candidate for fits, candidate in known if fits)
    aware = _aware(learners, setting)
    if aware:
        yield Candidate(f"{aware}/exponential:{n}", *widely)
        if n > 8:
            yield Candidate(f"{aware}/random-regular:{n}x4", 4.0, 4)
    if 2 <= n <= COMPLETE:
        yield Candidate(f"complete:{n}", n - 1.0, n - 1)
