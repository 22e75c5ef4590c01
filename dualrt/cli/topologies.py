"""What the commands of `dualrt topology` do.

Owns the way from options to tables, JSON and pictures; what is found out, `dualrt.advice` knows.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from dualrt.advice import compare as comparing
from dualrt.advice.better import with_better
from dualrt.advice.examination import examine
from dualrt.advice.report import Demand, Report
from dualrt.advice.setting import Setting, setting
from dualrt.cli import show
from dualrt.cli.files import check_picture
from dualrt.core.errors import UsageError
from dualrt.observe import units
from dualrt.observe.tables import Rows, figures_table
from dualrt.topology import Topology, specs

LINKS_SHOWN = 8

DRAWINGS = (".svg", ".png", ".pdf", ".html")


@dataclass(frozen=True, slots=True)
class Asked:
    """The options that all commands share."""

    cluster: str | None
    mixing: str | None
    model_bytes: int | None
    batch: int
    seed: int

    def topology(self, spec: str) -> Topology:
        """The specification, read together with how it is mixed."""
        return specs.read(spec, self.mixing, seed=self.seed)

    def setting(self, learners: int) -> Setting:
        """Where that many learners would run."""
        return setting(learners, self.cluster, self.model_bytes, self.batch)


def check(spec: str, asked: Asked, protocol: str, rounds: int, as_json: bool) -> None:
    """Examine, print, and exit with 1 if the topology fails."""
    if protocol not in ("delta", "lock"):
        raise UsageError(f"--protocol {protocol}: there is none of that name. Use delta or lock")
    demand = Demand("lock" if protocol == "lock" else "delta", rounds)
    with show.search("checking") as tell:
        tell(spec)
        topology = asked.topology(spec)
        if topology.pushes and demand.protocol == "lock":
            raise UsageError(
                f"--protocol lock: the edges of {spec!r} go one way, along which weights are "
                "pushed and not exchanged. Leave it out"
            )
        where = asked.setting(topology.schedule.learners)
        report = examine(topology, where, demand)
        tell("is there a better one?")
        report = with_better(report, where, demand)
    if as_json:
        print(json.dumps(report.to_json()))
    else:
        show.results.print(_table(report))
        show.results.print(report.verdict, markup=False, highlight=False)
    if not report.passed:
        sys.exit(1)


def compare(names: Sequence[str], asked: Asked, picture: Path | None, as_json: bool) -> None:
    """A row for each topology, and the picture if one is asked for."""
    check_picture(picture)
    topologies = [asked.topology(name) for name in names]
    where = [asked.setting(topology.schedule.learners) for topology in topologies]
    with show.progress("letting the learners agree") as tell:
        courses: list[comparing.Course] = []
        for topology, one in zip(topologies, where, strict=True):
            courses.append(
                comparing.course(
                    topology, one, lambda share: tell((len(courses) + share) / len(topologies))
                )
            )
    if as_json:
        print(json.dumps({"topologies": [course.to_json() for course in courses]}))
    else:
        show.results.print(_comparison(courses))
    if picture is not None:
        from dualrt.advice.pictures import compare_picture

        compare_picture(picture, courses, where[0])
        show.note(f"picture: {picture}")


def draw(spec: str, asked: Asked, picture: Path) -> None:
    """Draw it to a file."""
    check_picture(picture, "--out", DRAWINGS)
    from dualrt.advice.drawing import draw_html, draw_picture

    topology = asked.topology(spec)
    where = asked.setting(topology.schedule.learners)
    (draw_html if picture.suffix == ".html" else draw_picture)(picture, topology, where)
    show.note(f"picture: {picture}")


def _table(report: Report) -> Table:
    groups = (_graph, _mixing, _traffic, _links)
    return figures_table(f"{report.spec}, {report.mixing}", (group(report) for group in groups))


def _links(report: Report) -> Rows:
    for load in report.links[:LINKS_SHOWN]:
        busy = f"{units.size(load.bytes_per_step)} a step, busy {units.seconds(load.busy_s)}"
        yield f"link {load.link}", busy


def _graph(report: Report) -> Rows:
    yield "learners", units.count(report.learners)
    yield "connected", _yes(report.connected)
    yield "bipartite", _yes(report.bipartite)
    for protocol, meaning in report.protocols.items():
        yield f"protocol {protocol}", meaning
    at_least = "" if report.diameter_exact or report.diameter is None else "at least "
    yield "diameter", f"{at_least}{units.count(report.diameter)}"
    yield "degrees", f"{report.degree_min} to {report.degree_max}, mean {report.degree_mean:.3g}"
    yield "single points of failure", _listed(report.single_points)
    at_most = "" if report.min_cut_exact or report.min_cut is None else "at most "
    yield "edges that split it", f"{at_most}{units.count(report.min_cut)}"


def _mixing(report: Report) -> Rows:
    second = report.second_eigenvalue
    yield "doubly stochastic", _yes(report.doubly_stochastic)
    yield "second eigenvalue", units.MISSING if second is None else f"{second:.10g}"
    yield "spectral gap", units.significant(report.spectral_gap)
    yield "rounds to 1e-3", units.count(report.consensus_rounds)


def _traffic(report: Report) -> Rows:
    assumed = ", assumed, with servers for all" if report.cluster_assumed else ""
    yield "cluster", f"{report.cluster}{assumed}"
    for value in report.cluster_fitted:
        yield "fitted", value
    yield (
        "messages a step",
        f"{report.messages_per_step:.3g}, most {report.messages_per_step_max:g}",
    )
    yield "bytes a step", units.size(report.bytes_per_step)
    yield "gradient", units.seconds(report.gradient_s)
    how = "simulated" if report.simulated else "longer of gradient and busiest link"
    yield (
        f"step of {'sgp' if report.pushes else 'adpsgd'}",
        f"{units.seconds(report.step_time_s)}, {how}",
    )
    yield "staleness, mean", units.significant(report.staleness_mean)


def _comparison(courses: Sequence[comparing.Course]) -> Table:
    short = any(course.measured is not None and not course.settled for course in courses)
    table = Table(
        box=SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
        caption="rounds and seconds to 1e-3 are predicted from the second eigenvalue"
        + ("\n* of the first rounds, not of the long run" if short else ""),
        caption_justify="left",
    )
    table.add_column("topology", no_wrap=True)
    for heading in ("bytes", "second", "measured", "rounds", "a round", "to 1e-3"):
        table.add_column(heading, justify="right", no_wrap=True)
    for course in courses:
        table.add_row(
            Text(course.spec),
            units.size(course.bytes_per_step),
            f"{course.second_eigenvalue:.4f}",
            _measured(course),
            units.count(course.consensus_rounds),
            units.seconds(course.round_s),
            units.seconds(course.consensus_s),
        )
    return table


def _measured(course: comparing.Course) -> str:
    if course.measured is None:
        return units.MISSING
    return f"{course.measured:.4f}{'' if course.settled else '*'}"


def _yes(fact: bool) -> str:
    return "yes" if fact else "no"


def _listed(learners: Sequence[Any]) -> str:
    shown = ", ".join(map(str, learners[:8])) or "none"
    return shown if len(learners) <= 8 else f"{shown} and {len(learners) - 8} more"
