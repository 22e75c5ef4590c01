"""What `dualrt profile` does on the screen, and which scenario a workload's name stands for."""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from dualrt.cli import show
from dualrt.cli.files import check_file
from dualrt.core.errors import UsageError, require
from dualrt.core.names import nearest
from dualrt.observe.units import counted, seconds, size
from dualrt.profile.description import described
from dualrt.profile.measure import Plan, Report, measure
from dualrt.scenario import Scenario, load, shipped
from dualrt.scenario.reading import is_file
from dualrt.scenario.toml import dumps
from dualrt.workloads import SHIPPED

BATCH = 32
"""Samples of a mini-batch, where a workload is named and not a scenario."""

LEARNERS_A_CORE = 2
"""More processes would mostly measure how the system takes turns."""

FILE = "scenario.toml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The options of the command."""

    what: str
    device: str | None
    learners: int | None
    batches: str | None
    seconds: float
    record: bool
    overrides: Sequence[str]
    seed: int | None
    json: bool
    out: Path | None


def profile(request: Request) -> None:
    """Measure, and write or print the description."""
    require("torch", "zmq", extra="train", purpose="dualrt profile")
    if request.device not in {None, "cpu", "cuda"}:
        raise UsageError(f"--device {request.device} is not known. There are cpu and cuda")
    check_file(request.out, new=True)
    with tempfile.TemporaryDirectory(prefix="dualrt-") as folder:
        file = _scenario_file(request.what, Path(folder))
        plan = _plan(request, file)
        show.note(
            f"{plan.learners} processes on {len(os.sched_getaffinity(0))} cores, load "
            f"{os.getloadavg()[0]:.1f}"
        )
        with show.progress(f"measuring {plan.workload}") as tell:
            report = measure(plan, tell)
    text = described(report, record=request.record)
    if request.out is not None:
        request.out.write_text(text)
        show.note(f"written: {request.out}")
    if request.json:
        written = None if request.out is None else str(request.out)
        print(json.dumps({"file": written, **dataclasses.asdict(report)}))
    elif request.out is None:
        print(text, end="")
    else:
        show.results.print(_table(report))


def _scenario_file(what: str, folder: Path) -> str:
    """The scenario of that name, or one made for the workload of that name.

    Raises UsageError if there is neither.
    """
    if is_file(Path(what)) or shipped.find("sims", what) is not None:
        return what
    if what not in SHIPPED and ":" not in what:
        known = (*SHIPPED, *shipped.names("sims"))
        raise UsageError(
            f"there is no workload, scenario or file {what!r}. {nearest(what, known)}Workloads "
            f"are {', '.join(SHIPPED)}, and module:Class; for scenarios see dualrt scenarios"
        )
    made = {
        "title": what,
        "learners": max(2, len(os.sched_getaffinity(0))),
        "algorithm": {"name": "adpsgd"},
        "workload": {"name": what, "batch": BATCH},
        "training": {"epochs": 1, "schedule": {"kind": "constant", "rate": 0.1}},
    }
    file = folder / FILE
    file.write_text(dumps(made))
    return str(file)


def _plan(request: Request, file: str) -> Plan:
    scenario = load(file, request.overrides, request.seed)
    learners = request.learners
    if learners is None:
        most = LEARNERS_A_CORE * len(os.sched_getaffinity(0))
        learners = min(scenario.learners, most)
        if learners < scenario.learners:
            show.note(
                f"{counted(scenario.learners, 'learner')} in the scenario, "
                f"{learners} measured at once; --learners sets another number"
            )
    return Plan(
        file=file,
        overrides=request.overrides,
        seed=request.seed,
        workload=request.what,
        learners=learners,
        device=request.device or scenario.real.device,
        batch=scenario.workload.batch,
        batches=_batches(request.batches, scenario),
        seconds=request.seconds,
    )


def _batches(words: str | None, scenario: Scenario) -> tuple[int, ...]:
    """Ascending; those asked for, or the scenario's own, its half and its quarter."""
    if words is None:
        own = scenario.workload.batch
        return tuple(sorted({own, max(1, own // 2), max(1, own // 4)}))
    try:
        batches = tuple(sorted({int(word) for word in words.split(",")}))
    except ValueError:
        batches = ()
    if not batches or batches[0] < 1:
        raise UsageError(
            f"--batches {words}: write numbers of samples, each 1 or more, like 16,32,64"
        )
    return batches


def _table(report: Report) -> Table:
    """The figures, for people."""
    table = Table(title=f"{report.workload} on {report.host}", show_header=False, box=None)
    table.add_column()
    table.add_column()
    for point in report.gradients:
        table.add_row(
            f"gradient of {point.batch}",
            f"{seconds(point.mean_s)} ± {100 * point.cv:.0f} %, alone {seconds(point.alone_s)}",
        )
    table.add_row(
        "update", f"{seconds(report.update_s)}, of next to nothing {seconds(report.launch_s)}"
    )
    for name, bandwidth in (
        ("blend", report.blend),
        ("copy in memory", report.copy),
        ("messages", report.gossip),
    ):
        alone, together = bandwidth.alone_bytes_per_s, bandwidth.together_bytes_per_s
        table.add_row(name, f"{size(alone)}/s, together {size(together)}/s")
    table.add_row(
        "an empty message",
        f"{seconds(report.message_s)}, while computing {seconds(report.busy_message_s)}",
    )
    table.add_row("gradients while exchanging", f"{100 * report.interference:+.0f} %")
    if report.pcie is None:
        table.add_row("PCIe", "no GPU, not measured")
    else:
        up, down = report.pcie.up_bytes_per_s, report.pcie.down_bytes_per_s
        table.add_row("PCIe", f"up {size(up)}/s, down {size(down)}/s")
    return table
