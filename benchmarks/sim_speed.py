"""How fast the simulator is, and next to what.

    python benchmarks/sim_speed.py [--json] [--rounds N]

Whole runs of `dualrt.api.simulate` without numerics (network, observers, summary and digest
included), in processor time, so that a busy machine disturbs little; each figure is the best of a
few rounds. The scenario is sims/swb2000-adpsgd-16.toml on as many servers as the learners need: 4
GPUs a server, a ring, the papers' acoustic model. `contested` is the same on servers of 8 GPUs.

Two peers are timed in the same run: SimPy alone, with as many timeouts and callbacks as the run put
on its queue; and SimGrid's actors in Python with the same algorithm and machine
(benchmarks/simgrid_actors.py), where SimGrid is installed.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import simpy
from rich.console import Console
from rich.table import Table

from dualrt import api
from dualrt.scenario import Scenario, load

KEYS = {
    "steps_per_s_64": "learner steps a second of processor time, AD-PSGD, 64 learners",
    "steps_per_s_1024": "the same with 1,024",
    "cost_growth": "cost of a step at 1,024 learners / at 64",
    "contested_steps_per_s_64": "as steps_per_s_64, on servers of 8 GPUs",
    "contested_steps_per_s_1024": "the same with 1,024",
    "contested_cost_growth": "as cost_growth",
    "peak_mib_4096": "peak memory of a process that runs 4,096 learners, in MiB",
    "hierarchical_steps_per_s_64": "learner steps a second, H-ADPSGD, 8 super-learners of 8",
    "hierarchical_16_epochs_s": "seconds that all 16 epochs of it would take at that rate",
    "events_per_step": "events that the run with 64 learners put on SimPy's queue, for each step",
    "part_of_simpy": "speed / that of SimPy alone with as many timeouts and callbacks; below 1",
    "simgrid_steps_per_s_64": "learner steps a second of SimGrid's actors; null without SimGrid",
    "times_simgrid": "steps_per_s_64 / simgrid_steps_per_s_64; null without SimGrid",
}
"""What `--json` prints, key by key."""

GOALS = {
    "steps_per_s_64": "> 30000",
    "steps_per_s_1024": "> 12000",
    "cost_growth": "< 3",
    "peak_mib_4096": "< 2048",
    "hierarchical_16_epochs_s": "< 20",
    "part_of_simpy": "> 0.33",
    "times_simgrid": "> 1",
}

SERVERS = {"a-4x4-p100.toml": 4, "x-8x8-v100.toml": 8}
"""GPUs of a server, by cluster."""

SEGMENTS_PER_EPOCH = 31_870_000
BATCH = 128
SIMGRID_PYTHON = "/usr/bin/python3"


def adpsgd(learners: int, steps: float, cluster: str = "a-4x4-p100.toml") -> Scenario:
    """AD-PSGD on a ring, to be over when learners have taken `steps` steps on average.

    They take more of them: it takes many hops until they know.
    """
    overrides = [
        f"cluster.file={cluster}",
        f"cluster.servers={-(-learners // SERVERS[cluster])}",
        f"learners={learners}",
        f"workload.batch={BATCH}",
        f"simulation.epochs={learners * steps * BATCH / SEGMENTS_PER_EPOCH!r}",
    ]
    return load("swb2000-adpsgd-16", overrides)


def hierarchical(epochs: float) -> Scenario:
    """The papers' 64 GPUs."""
    return load("swb2000-h-adpsgd-64", [f"simulation.epochs={epochs!r}"])


def best(rounds: int, work: Callable[[], Any]) -> tuple[float, Any]:
    """The least processor time of several rounds, and what the last returned."""
    spent_s = []
    for _ in range(rounds):
        began_s = time.process_time()
        result = work()
        spent_s.append(time.process_time() - began_s)
    return min(spent_s), result


def steps_per_s(scenario: Scenario, rounds: int) -> float:
    """Learner steps a second of processor time."""
    spent_s, outcome = best(rounds, lambda: api.simulate(scenario))
    return float(outcome.tally.steps / spent_s)


def events(scenario: Scenario) -> tuple[int, int]:
    """How many events a run puts on SimPy's queue, and its learner steps."""
    counted = 0
    schedule = simpy.Environment.schedule

    def counting(*args: Any, **keywords: Any) -> None:
        nonlocal counted
        counted += 1
        schedule(*args, **keywords)

    with mock.patch.object(simpy.Environment, "schedule", counting):
        outcome = api.simulate(scenario)
    return counted, outcome.tally.steps


def bare_simpy(timeouts: int, chains: int) -> None:
    """`chains` chains of timeouts, each of which arms the next in its callback."""
    env = simpy.Environment()
    left = timeouts

    def fire(_: simpy.Event) -> None:
        nonlocal left
        left -= 1
        if left >= chains:
            env.timeout(1.0).callbacks.append(fire)

    for _ in range(chains):
        env.timeout(1.0).callbacks.append(fire)
    env.run()


def peak_mib(learners: int, steps: float) -> float:
    """Peak memory of a process that does nothing but run AD-PSGD."""
    # Spawned: a forked child would start with what its parent has.
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_weigh, (learners, steps))


def _weigh(learners: int, steps: float) -> float:
    api.simulate(adpsgd(learners, steps))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def simgrid_steps_per_s(learners: int, steps: int) -> float | None:
    """Learner steps a second of SimGrid's actors; None where there is no SimGrid."""
    script = Path(__file__).with_name("simgrid_actors.py")
    command = [SIMGRID_PYTHON, str(script), str(learners), str(steps)]
    try:
        told = subprocess.run(command, capture_output=True, text=True, check=True)
    except (FileNotFoundError, subprocess.CalledProcessError):
        return None
    done, spent_s = json.loads(told.stdout)
    return float(done / spent_s)


def measure(rounds: int) -> dict[str, float | None]:
    """All figures."""
    # First, because a child's peak is counted from its parent's size on.
    # A tenth of a step: on a ring it takes each learner many more to hear that the end is reached.
    weight_mib = peak_mib(4096, 0.1)
    flat = adpsgd(64, 200)
    small, large = steps_per_s(flat, rounds), steps_per_s(adpsgd(1024, 0.2), 1)
    x = "x-8x8-v100.toml"
    contested = steps_per_s(adpsgd(64, 200, x), rounds), steps_per_s(adpsgd(1024, 0.2, x), 1)
    grouped = hierarchical(0.2)
    grouped_per_s = steps_per_s(grouped, rounds)
    counted, steps = events(flat)
    simpy_s, _ = best(rounds, lambda: bare_simpy(counted, 64))
    simgrid = simgrid_steps_per_s(64, 50)
    return {
        "steps_per_s_64": small,
        "steps_per_s_1024": large,
        "cost_growth": small / large,
        "contested_steps_per_s_64": contested[0],
        "contested_steps_per_s_1024": contested[1],
        "contested_cost_growth": contested[0] / contested[1],
        "peak_mib_4096": weight_mib,
        "hierarchical_steps_per_s_64": grouped_per_s,
        "hierarchical_16_epochs_s": 16 * SEGMENTS_PER_EPOCH / BATCH / grouped_per_s,
        "events_per_step": counted / steps,
        "part_of_simpy": simpy_s * small / steps,
        "simgrid_steps_per_s_64": simgrid,
        "times_simgrid": small / simgrid if simgrid else None,
    }


def table(figures: dict[str, float | None]) -> Table:
    """The figures, each with its goal and its meaning."""
    made = Table("figure", "", "goal", "meaning", title="Speed of the simulator")
    made.columns[1].justify = "right"
    for key, figure in figures.items():
        shown = (
            "no SimGrid"
            if figure is None
            else f"{figure:,.0f}"
            if figure > 100
            else f"{figure:.2f}"
        )
        made.add_row(key, shown, GOALS.get(key, ""), KEYS[key])
    return made


def main() -> None:
    """Measure and print."""
    keys = "\n".join(f"  {key:28}{meaning}" for key, meaning in KEYS.items())
    parser = argparse.ArgumentParser(
        description="How fast the simulator is, in whole runs and in processor time.",
        epilog=f"keys of --json:\n{keys}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="print one object on stdout alone")
    parser.add_argument("--rounds", type=int, default=2, help="rounds of a figure, the best counts")
    arguments = parser.parse_args()
    figures = measure(arguments.rounds)
    if arguments.json:
        print(json.dumps(figures))
    else:
        Console().print(table(figures))


if __name__ == "__main__":
    main()
