"""Run: the simulations of a sweep, in processes of their own.

Owns the order of things: load all, check all, then simulate what is not kept yet; and that no
process goes on when the sweep is broken off. Must not know how rows are shown.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from hashlib import blake2b
from pathlib import Path
from typing import TypeVar

import joblib

from dualrt import api
from dualrt.core.errors import RunError, UsageError
from dualrt.real import watchdog
from dualrt.scenario import Scenario, load
from dualrt.sweep.axes import Axis, combinations, options
from dualrt.sweep.ledger import Ledger
from dualrt.sweep.rows import Figures, Row

R = TypeVar("R")


def sweep(
    file: str | Path,
    axes: Sequence[Axis],
    *,
    overrides: Sequence[str] = (),
    jobs: int = 2,
    out: Path | None = None,
    on_progress: api.OnProgress | None = None,
    on_warning: Callable[[str], None] | None = None,
) -> list[Row]:
    """Simulate the scenario in `file` for every combination of the axes' values, `jobs` at a time.

    Rows come in the order of the combinations. A run that fails (StrandError, DeadlockError) is a
    row that says so. With `out`, each row is kept in that CSV file as soon as it is there, and what
    the file already has of the same scenario is not run again, failed runs apart.

    Raises UsageError, before anything runs, if a combination cannot be simulated; RunError if a
    process dies.
    """
    scenarios: list[Scenario] = []
    rows: list[Row] = []
    for combination in combinations(axes):
        scenario = load(file, [*overrides, *options(combination)])
        scenarios.append(scenario)
        rows.append(Row(combination, fingerprint(scenario), None))
    if out is not None:
        ledger = Ledger(out, [axis.key for axis in axes])
        rows = [ledger.find(row) or row for row in rows]
    places = [place for place, row in enumerate(rows) if row.figures is None]
    todo = [scenarios[place] for place in places]
    jobs = max(1, min(jobs, len(todo)))
    _check_all(todo, jobs, on_warning)
    for done, (which, (figures, failed)) in enumerate(_map(_simulated, todo, jobs), 1):
        place = places[which]
        rows[place] = Row(rows[place].combination, rows[place].scenario, figures, failed)
        if out is not None:
            ledger.add(rows[place])
        if on_progress is not None:
            on_progress((len(rows) - len(places) + done) / len(rows))
    return rows


def fingerprint(scenario: Scenario) -> str:
    """A hash of all options with their values, defaults and the cluster's description included."""
    return blake2b(scenario.to_toml().encode(), digest_size=8).hexdigest()


def _check_all(
    scenarios: Sequence[Scenario], jobs: int, on_warning: Callable[[str], None] | None
) -> None:
    """Raise the first problem; tell each warning once."""
    # Whether a scenario can be simulated does not depend on its seed.
    alike = {fingerprint(one.model_copy(update={"seed": 0})): one for one in reversed(scenarios)}
    different = list(reversed(alike.values()))
    found = dict(_map(_checked, different, jobs))
    verdicts = [found[place] for place in range(len(different))]
    for problem, _ in verdicts:
        if problem is not None:
            raise UsageError(problem)
    if on_warning is not None:
        for warning in dict.fromkeys(warning for _, warnings in verdicts for warning in warnings):
            on_warning(warning)


def _checked(scenario: Scenario) -> tuple[str | None, tuple[str, ...]]:
    """What is impossible about a scenario, and the warnings. In words: these can be pickled."""
    try:
        return None, api.check(scenario)
    except UsageError as error:
        return str(error), ()


def _simulated(scenario: Scenario) -> tuple[Figures | None, str]:
    """The figures of a run, or why there are none."""
    try:
        return Figures.of(api.simulate(scenario).summary), ""
    except RunError as error:
        return None, str(error)


def _map(
    work: Callable[[Scenario], R], scenarios: Sequence[Scenario], jobs: int
) -> Iterator[tuple[int, R]]:
    """(place, result) of each scenario, in the order in which the work is done.

    The processes are kept for the next call: most of what a short run takes is imports.
    """
    parallel = joblib.Parallel(
        n_jobs=jobs,
        backend="loky",
        return_as="generator_unordered",
        batch_size=1,
        initializer=_settle,
        initargs=(os.getpid(),),
    )
    placed = joblib.delayed(_placed)
    try:
        yield from parallel(placed(work, *numbered) for numbered in enumerate(scenarios))
    except BrokenProcessPool as error:
        raise RunError(
            "a process of the sweep died, killed perhaps for want of memory. Try a smaller --jobs; "
            "with --out, what is done is kept"
        ) from error


def _placed(work: Callable[[Scenario], R], place: int, scenario: Scenario) -> tuple[int, R]:
    return place, work(scenario)


def _settle(parent: int) -> None:
    """Leave Ctrl-C to the parent, and end when it is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    watchdog.end_with(parent)
