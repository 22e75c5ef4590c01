"""Run: the simulations of a sweep.

Owns the order of things: load all, check all, then simulate what is not kept yet. Must not know
where that is done, nor how rows are shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from hashlib import blake2b
from pathlib import Path

from dualrt import api
from dualrt.core.errors import RunError, TopologyError, UsageError
from dualrt.scenario import Scenario, load
from dualrt.sweep.axes import Axis, combinations, options
from dualrt.sweep.engines import Engine, engine
from dualrt.sweep.ledger import Ledger
from dualrt.sweep.rows import Figures, Row
from dualrt.topology import file_of


def sweep(
    file: str | Path,
    axes: Sequence[Axis],
    *,
    overrides: Sequence[str] = (),
    jobs: int | None = None,
    on: str = "loky",
    address: str | None = None,
    out: Path | None = None,
    on_progress: api.OnProgress | None = None,
    on_warning: Callable[[str], None] | None = None,
) -> list[Row]:
    """Simulate the scenario in `file` for every combination of the axes' values, `jobs` at a time.

    `on` and `address` say where: see `engines.engine`. Rows come in the order of the combinations.
    A run that fails (StrandError, DeadlockError) is a row that says so. With `out`, each row is
    kept in that CSV or Parquet file as soon as it is there, and what the file already has of the
    same scenario is not run again, failed runs apart.

    Raises UsageError, before anything runs, if a combination cannot be simulated, the engine is not
    to be had, or `out` cannot be written or is another sweep's; RunError if a process dies, or a
    row cannot be kept.
    """
    scenarios: list[Scenario] = []
    rows: list[Row] = []
    for combination in combinations(axes):
        scenario = load(file, [*overrides, *options(combination)])
        scenarios.append(scenario)
        rows.append(Row(combination, fingerprint(scenario), None))
    with ExitStack() as stack:
        ledger: Ledger | None = None
        if out is not None:
            keys = [axis.key for axis in axes]
            ledger = stack.enter_context(Ledger.alone(out, keys, on_warning))
            rows = [ledger.find(row) or row for row in rows]
        places = [place for place, row in enumerate(rows) if row.figures is None]
        todo = [scenarios[place] for place in places]
        if not todo:
            return rows
        if ledger is not None:
            ledger.check_writable()
        there = stack.enter_context(engine(on, address, jobs))
        _check_all(there, todo, on_warning)
        for done, (which, (figures, failed)) in enumerate(there.map(_simulated, todo), 1):
            place = places[which]
            rows[place] = Row(rows[place].combination, rows[place].scenario, figures, failed)
            if ledger is not None:
                ledger.add(rows[place])
            if on_progress is not None:
                on_progress((len(rows) - len(places) + done) / len(rows))
    return rows


def fingerprint(scenario: Scenario) -> str:
    """A hash of all that a scenario says, and of the files that say the rest.

    That is all options with their values, defaults and the cluster's description included; and what
    is in its graph's file and its matrix', which options only name.
    """
    said = blake2b(scenario.to_toml().encode(), digest_size=8)
    for file in _files(scenario):
        # Which is not there is told of when it is read.
        with suppress(OSError):
            said.update(blake2b((scenario.folder / file).read_bytes()).digest())
    return said.hexdigest()


def _files(scenario: Scenario) -> Iterator[str]:
    topology = scenario.topology
    # What is no graph is told of when one is made of it.
    with suppress(TopologyError):
        graph = file_of(topology.graph)
        if graph is not None:
            yield graph
    rule, _, file = topology.mixing.partition(":")
    if rule == "matrix" and file:
        yield file


def _check_all(
    there: Engine, scenarios: Sequence[Scenario], on_warning: Callable[[str], None] | None
) -> None:
    """Raise the first problem; tell each warning once."""
    # Whether a scenario can be simulated does not depend on its seed.
    alike = {fingerprint(one.model_copy(update={"seed": 0})): one for one in reversed(scenarios)}
    different = list(reversed(alike.values()))
    found = dict(there.map(_checked, different))
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
