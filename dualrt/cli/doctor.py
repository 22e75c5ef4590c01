"""What `doctor` does.

Owns the way from options to the report on the screen, and the exit code: 1 if a run would not work.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from dualrt.cli import processes, show, talk
from dualrt.cli.options import written
from dualrt.core.errors import DualrtError, require
from dualrt.observe.units import counted, seconds, size
from dualrt.scenario import Scenario, load

if TYPE_CHECKING:
    from dualrt.doctor.findings import Report

ANY_FILE = "digits-adpsgd"
"""What is looked at without a FILE."""

MOST_SHOWN = 16
"""Learners up to which there is a table of all ways between them."""

MARKS = {"ok": "green", "warn": "yellow", "fail": "bold red"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The options."""

    file: str | None
    overrides: Sequence[str]
    json: bool
    out: Path | None

    def scenario(self, learners: int | None = None) -> Scenario:
        """The one that was named, or else any, with so many learners."""
        more = () if learners is None else (f"learners={learners}",)
        return load(self.file or ANY_FILE, (*more, *self.overrides))

    def arguments(self) -> list[str]:
        """The same options for another process."""
        words = [*([] if self.file is None else [self.file]), *written(self.overrides)]
        return words if self.out is None else [*words, "--out", str(self.out.resolve())]


def doctor(request: Request, local: int | None) -> None:
    """As the process that a launcher started, as the parent of local ones, or alone."""
    require("torch", "zmq", extra="train", purpose="dualrt doctor")
    report = _look_here(request) if local is None else _look_locally(request, local)
    if report is None:
        return
    if request.json:
        print(report.to_json())
    else:
        _print(report)
    if not report.healthy:
        sys.stdout.flush()
        sys.exit(1)


def _look_locally(request: Request, learners: int) -> Report:
    from dualrt.doctor.findings import Report
    from dualrt.real.launcher import run_local

    processes.refuse_local_inside()
    scenario = request.scenario(learners)
    if request.file is not None and request.scenario().learners != learners:
        show.note(
            f"{counted(request.scenario().learners, 'learner')} in the scenario, "
            f"{learners} with --local"
        )
    overrides = (f"learners={learners}", *request.overrides)
    there = replace(request, overrides=overrides)
    reports: list[Report] = []
    with show.progress(f"looking at {counted(learners, 'learner')}") as tell:

        def told(said: Mapping[str, Any]) -> None:
            reports.append(Report.from_builtins(said["report"]))

        hear = processes.listener(tell, told)
        secrets = processes.keys_for_this_run(scenario)
        run_local(["doctor", *there.arguments()], learners, hear, secrets=secrets)
    return reports[0]


def _look_here(request: Request) -> Report | None:
    with processes.one_of_them() as heard:
        report = _look_in_this_process(request, heard)
    if heard and report is not None:
        talk.say({"report": _builtins(report)})
        return None
    return report


def _look_in_this_process(request: Request, heard: bool) -> Report | None:
    from dualrt.doctor.examination import examine
    from dualrt.real import reports
    from dualrt.real.rendezvous import Launch

    started = Launch.from_environment()
    launch = started or Launch(rank=0, learners=1, local_rank=0, local_learners=1)
    try:
        scenario = request.scenario(launch.learners if request.file is None else None)
        with processes.telling("looking", launch.rank, heard) as tell:
            alone, told = started is None, tell or (lambda _: None)
            return examine(scenario, launch, alone=alone, out=request.out, tell=told)
    except DualrtError as error:
        reports.report(error, launch.rank)
        raise


def _builtins(report: Report) -> Any:
    import msgspec

    return msgspec.to_builtins(report)


def _print(report: Report) -> None:
    from dualrt.doctor.findings import listed

    table = Table(show_header=False, box=None, pad_edge=False)
    for finding in report.findings:
        who = f" ({listed(finding.learners)})" if finding.learners else ""
        words = f"{finding.said}{who}"
        if finding.remedy:
            words += f"\n→ {finding.remedy}"
        mark = Text(finding.verdict, style=MARKS[finding.verdict])
        table.add_row(mark, Text(finding.check), Text(words))
    show.results.print(table)
    if report.ways:
        show.results.print(_ways(report))
    words = "A run would work." if report.healthy else "A run would not work."
    show.results.print(words, highlight=False)


def _ways(report: Report) -> Table:
    """Bandwidth from each row to each column, with the round trip; large runs by host."""
    by_host = report.learners > MOST_SHOWN
    names = list(report.hosts) if by_host else [str(rank) for rank in range(report.learners)]
    cells: dict[tuple[str, str], tuple[float, float]] = {}
    for way in report.ways:
        for a, b, rate in (
            (way.a, way.b, way.there_bytes_per_s),
            (way.b, way.a, way.back_bytes_per_s),
        ):
            cell = names[a], names[b]
            slowest, latest_s = cells.get(cell, (rate, way.round_trip_s))
            cells[cell] = min(slowest, rate), max(latest_s, way.round_trip_s)
    rows = list(dict.fromkeys(names))
    what = "host to host, the slowest" if by_host else "learner to learner"
    table = Table(title=f"bandwidth, {what}; there and back", title_justify="left", box=None)
    for heading in ("", *rows):
        table.add_column(heading, justify="right")
    for row in rows:
        found = [cells.get((row, column)) for column in rows]
        table.add_row(
            row, *("–" if one is None else f"{size(one[0])}/s, {seconds(one[1])}" for one in found)
        )
    return table
