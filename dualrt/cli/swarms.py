"""What `swarm` does on the screen: a table of invariants, and each failure with its way back.

Owns the form of the table, of failures and of the JSON. What a swarm is, `dualrt.swarm` knows.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from dualrt.cli import show
from dualrt.cli.options import written
from dualrt.observe import units
from dualrt.swarm import INVARIANTS, Swarm, Trial
from dualrt.swarm import swarm as run_all

SHOWN_IN_FULL = 3
"""Failures that are printed with all their options; of others the command is enough."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The options of a swarm."""

    file: str
    seeds: int
    first_seed: int
    kinds: tuple[str, ...]
    overrides: Sequence[str]
    jobs: int | None
    json: bool

    def replay(self, seed: int) -> str:
        """The one command that runs a seed again."""
        words = ["dualrt", "swarm", self.file, *written(self.overrides)]
        if self.kinds:
            words += ["--faults", ",".join(self.kinds)]
        return shlex.join([*words, "--seeds", "1", "--first-seed", str(seed)])


def swarm(request: Request) -> None:
    """Run all seeds, print, and exit with 1 if an invariant is violated."""
    # What a user's own code prints must not mix with the result.
    with redirect_stdout(sys.stderr), show.progress(f"{request.seeds} seeds") as tell:
        found = run_all(
            request.file,
            request.seeds,
            first_seed=request.first_seed,
            kinds=request.kinds,
            overrides=request.overrides,
            jobs=request.jobs or os.cpu_count() or 1,
            on_progress=tell,
        )
    if request.json:
        print(json.dumps(_plain(found, request)))
    else:
        show.results.print(_table(found))
        for line in _course(found):
            show.note(line)
        for place, failed in enumerate(found.failed):
            _print(failed, request, in_full=place < SHOWN_IN_FULL)
    if found.failed:
        sys.exit(1)


def _table(found: Swarm) -> Table:
    title = f"{found.scenario.title}: {len(found.trials)} seeds, {len(found.failed)} failed"
    table = Table(title=Text(title), title_justify="left", box=SIMPLE_HEAD)
    table.add_column("invariant", no_wrap=True)
    table.add_column("checked", justify="right")
    table.add_column("violated", justify="right")
    table.add_column("not checked, mostly because")
    checked, violated = found.checked, _violated(found)
    for name in (*INVARIANTS, "determinism"):
        table.add_row(
            name,
            units.count(checked[name]),
            Text(units.count(violated.get(name, 0)), style="red" if name in violated else ""),
            Text(found.untold(name)),
        )
    return table


def _course(found: Swarm) -> Iterator[str]:
    seeds = ", ".join(f"{key} in {number}" for key, number in sorted(found.faults.items()))
    yield f"faults: {seeds} seeds"
    updates, lost, crashes, stopped = (
        sum(getattr(one, name) for one in found.trials)
        for name in ("updates", "lost", "crashes", "stopped")
    )
    yield (
        f"{units.count(updates)} updates, {units.count(crashes)} crashes, "
        f"{units.count(lost)} messages lost"
    )
    if stopped:
        yield f"{stopped} runs stopped and named who was lost, as this algorithm needs everyone"


def _print(failed: Trial, request: Request, *, in_full: bool) -> None:
    """A failure: to stdout, as it is what the command is for."""
    show.results.print(f"\nseed {failed.seed}", style="bold red", highlight=False)
    for finding in failed.findings:
        show.results.print(f"  {finding.invariant}: {finding.problem}", markup=False)
    if in_full:
        show.results.print("\n" + failed.scenario, markup=False, highlight=False, soft_wrap=True)
    show.results.print("replay it with", highlight=False)
    show.results.print(
        f"  {request.replay(failed.seed)}", markup=False, highlight=False, soft_wrap=True
    )


def _violated(found: Swarm) -> dict[str, int]:
    violated: dict[str, int] = {}
    for one in found.failed:
        for name in dict.fromkeys(finding.invariant for finding in one.findings):
            violated[name] = violated.get(name, 0) + 1
    return violated


def _plain(found: Swarm, request: Request) -> dict[str, Any]:
    return {
        "title": found.scenario.title,
        "seeds": len(found.trials),
        "first_seed": request.first_seed,
        "kinds": list(found.plan.kinds),
        "faults": found.faults,
        "checked": found.checked,
        "violated": _violated(found),
        "stopped": sum(one.stopped for one in found.trials),
        "updates": sum(one.updates for one in found.trials),
        "messages_lost": sum(one.lost for one in found.trials),
        "crashes": sum(one.crashes for one in found.trials),
        "failed": [
            {
                "seed": one.seed,
                "findings": [asdict(finding) for finding in one.findings],
                "scenario": one.scenario,
                "replay": request.replay(one.seed),
            }
            for one in found.failed
        ],
    }
