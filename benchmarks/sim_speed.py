"""How fast the simulator is, and next to what.

    python benchmarks/sim_speed.py [--json] [--rounds N] [--whole]

Whole runs of `dualrt.api.simulate` without numerics (network, observers, summary and digest
included), in processor time, so that a busy machine disturbs little; each figure is the best of a
few rounds. The scenario is sims/swb2000-adpsgd-16.toml on as many servers as the learners need: 4
GPUs a server, a ring, the papers' acoustic model. Its links are those of benchmarks/
simgrid_actors.py, so that the figures do not move when a cluster is fitted anew; on `contested`
servers four learners share host memory that is nine times slower, and rates must be filled at
nearly every change.

Two peers are timed in the same run. SimGrid's actors in Python do the same algorithm on the same
machine, where SimGrid is installed. SimPy alone does

- as many timeouts as the run has simulated waits: effects that were not answered at once (a
  computation, a message or a collective that had to be waited for), and flows;
- as many callbacks of these timeouts as the run resumes strands and calls back for flows.

That is what the run would need of SimPy if each wait were a timeout and nothing else were done:
no learner code, no network, no records. A wait that something else ends, as for a message, counts
like a time of its own, since SimPy's processes go on by events of its queue alone. That a part of a
strand starts counts as a callback where it is a coroutine, which is resumed for it.
`part_of_simpy_by_events` is the same with only what the run did put on its clock's queue, which is
less, as an exchange under way is no event.

And there is a limit from below: the learners' own code, which is that of a real run, under a driver
that answers at once (`instant.py`). No simulator of these learners can be faster than that.
"""

from __future__ import annotations

import json
import multiprocessing
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import simpy
from rich.table import Table

from dualrt import api
from dualrt.scenario import Scenario, load
from dualrt.sim.clock import Clock
from dualrt.sim.driver import Simulator
from dualrt.sim.network import Network
from dualrt.sim.process import PENDING, Answer, Answers, Process

# A script finds its neighbours by their own names, the type checker by the folder's too.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.figures import options, tabled, tell
from benchmarks.instant import Instant, learners_of

KEYS = {
    "steps_per_s_64": "learner steps a second of processor time, AD-PSGD, 64 learners",
    "steps_per_s_1024": "the same with 1,024",
    "cost_growth": "cost of a step at 1,024 learners / at 64",
    "contested_steps_per_s_64": "as steps_per_s_64, where host memory is contested",
    "contested_steps_per_s_1024": "the same with 1,024",
    "contested_cost_growth": "as cost_growth",
    "peak_mib_4096": "peak memory of a process that runs 4,096 learners, in MiB",
    "hierarchical_steps_per_s_64": "learner steps a second, H-ADPSGD, 8 super-learners of 8",
    "hierarchical_16_epochs_s": "seconds of all 16 epochs: at that rate, or run if --whole",
    "hierarchical_code_16_epochs_s": "seconds that the learners' own code takes of them",
    "ssgd_steps_per_s_64": "learner steps a second, SSGD on the same cluster",
    "events_per_step": "events that the run with 64 learners put on its queue, for each step",
    "waits_per_step": "simulated waits of that run, for each step",
    "callbacks_per_step": "its callbacks, for each step",
    "simpy_timeouts_per_s": "of SimPy alone, a callback each: what this machine can do just now",
    "part_of_simpy": "speed / that of SimPy alone with as many timeouts and callbacks; below 1",
    "part_of_simpy_by_events": "speed / that of SimPy alone with as many events; below 1",
    "code_steps_per_s_64": "steps_per_s_64 of the learners' own code, with instant answers",
    "part_of_code": "speed / that of the learners' own code; below 1",
    "code_part_of_simpy": "speed of that code / that of SimPy alone, as part_of_simpy",
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

GPUS_PER_SERVER = 4
HOST_MEMORY_BYTES_PER_S = 120e9
CONTESTED_BYTES_PER_S = 13.3e9
SEGMENTS_PER_EPOCH = 31_870_000
BATCH = 128
SIMGRID_PYTHON = "/usr/bin/python3"


def adpsgd(
    learners: int, steps: float, host_memory_bytes_per_s: float = HOST_MEMORY_BYTES_PER_S
) -> Scenario:
    """AD-PSGD on a ring, to be over when learners have taken `steps` steps on average.

    They take more of them: it takes many hops until they know.
    """
    overrides = [
        f"cluster.servers={-(-learners // GPUS_PER_SERVER)}",
        f"cluster.host_memory_bytes_per_s={host_memory_bytes_per_s!r}",
        "cluster.socket_bytes_per_s=1e9",
        f"learners={learners}",
        f"workload.batch={BATCH}",
        f"simulation.epochs={learners * steps * BATCH / SEGMENTS_PER_EPOCH!r}",
    ]
    return load("swb2000-adpsgd-16", overrides)


def hierarchical(epochs: float) -> Scenario:
    """The papers' 64 GPUs."""
    return load("swb2000-h-adpsgd-64", [f"simulation.epochs={epochs!r}"])


def ssgd(learners: int, steps: float) -> Scenario:
    """All in lock-step."""
    overrides = [
        f"cluster.servers={-(-learners // GPUS_PER_SERVER)}",
        f"learners={learners}",
        f"workload.batch={BATCH}",
        f"simulation.epochs={learners * steps * BATCH / SEGMENTS_PER_EPOCH!r}",
    ]
    return load("swb2000-ssgd-16", overrides)


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


def code_steps_per_s(scenario: Scenario, rounds: int) -> float:
    """Learner steps a second of the learners' own code, which must be of AD-PSGD or H-ADPSGD."""
    spent_s = []
    for _ in range(rounds):
        learners = learners_of(scenario)
        driver = Instant(learners)
        began_s = time.process_time()
        driver.run()
        spent_s.append(time.process_time() - began_s)
    batches = learners[0].seat.layout.batches_per_update
    return float(driver.updates * batches / min(spent_s))


class Counts(NamedTuple):
    """What a run asked of its queue, and of its strands and flows."""

    steps: int
    events: int
    waits: int
    callbacks: int


def counts(scenario: Scenario) -> Counts:
    """Count in a run of its own, as counting takes time."""
    counted = dict.fromkeys(("events", "waits", "callbacks"), 0)

    def counting(method: Callable[..., Any], *keys: str) -> Callable[..., Any]:
        def call(*args: Any, **keywords: Any) -> Any:
            for key in keys:
                counted[key] += 1
            return method(*args, **keywords)

        return call

    def waiting(answer: Answer) -> Answer:
        def call(process: Process, effect: Any) -> Any:
            answered = answer(process, effect)
            counted["waits"] += answered is PENDING
            return answered

        return call

    def answers(self: Simulator) -> Answers:
        return Answers({kind: waiting(one) for kind, one in self._answers.items()}, self._unknown)

    with ExitStack() as patched:
        for owner, name, keys in (
            (Clock, "schedule", ("events",)),
            (Clock, "at", ("events",)),
            (Clock, "at_last", ("events",)),
            (Process, "resume", ("callbacks",)),
            (Network, "transfer", ("waits", "callbacks")),
            (Network, "lockstep", ("waits", "callbacks")),
        ):
            patch = mock.patch.object(owner, name, counting(getattr(owner, name), *keys))
            patched.enter_context(patch)
        patched.enter_context(mock.patch.object(Simulator, "answers", property(answers)))
        outcome = api.simulate(scenario)
    return Counts(outcome.tally.steps, **counted)


def bare_simpy(timeouts: int, callbacks: int, chains: int) -> None:
    """`chains` chains of timeouts, each of which arms the next in its first callback."""
    env = simpy.Environment()
    left, more = timeouts, max(0, callbacks - timeouts)

    def nothing(_: simpy.Event) -> None:
        pass

    def arm() -> None:
        nonlocal left, more
        left -= 1
        called = env.timeout(1.0).callbacks
        called.append(fire)
        extra = -(-more // (left + 1))
        for _ in range(extra):
            called.append(nothing)
        more -= extra

    def fire(_: simpy.Event) -> None:
        if left:
            arm()

    for _ in range(min(chains, timeouts)):
        arm()
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
    command = [SIMGRID_PYTHON, str(script), str(learners), str(steps), "--json"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, check=True)
    except (FileNotFoundError, subprocess.CalledProcessError):
        return None
    return float(json.loads(told.stdout)["steps_per_s"])


def measure(rounds: int, whole: bool) -> dict[str, float | None]:
    """All figures."""
    # First, because a child's peak is counted from its parent's size on.
    # A tenth of a step: on a ring it takes each learner many more to hear that the end is reached.
    weight_mib = peak_mib(4096, 0.1)
    flat = adpsgd(64, 200)
    small, large = steps_per_s(flat, rounds), steps_per_s(adpsgd(1024, 2), 1)
    contested = (
        steps_per_s(adpsgd(64, 200, CONTESTED_BYTES_PER_S), rounds),
        steps_per_s(adpsgd(1024, 2, CONTESTED_BYTES_PER_S), 1),
    )
    code = code_steps_per_s(flat, rounds)
    grouped_per_s = steps_per_s(hierarchical(0.3), rounds)
    grouped_code_per_s = code_steps_per_s(hierarchical(0.3), rounds)
    whole_s = best(1, lambda: api.simulate(hierarchical(16)))[0] if whole else None
    asked = counts(flat)
    waits_s, _ = best(rounds, lambda: bare_simpy(asked.waits, asked.callbacks, 64))
    events_s, _ = best(rounds, lambda: bare_simpy(asked.events, asked.events, 64))
    simgrid = simgrid_steps_per_s(64, 50)
    steps_of_all = 16 * SEGMENTS_PER_EPOCH / BATCH
    return {
        "steps_per_s_64": small,
        "steps_per_s_1024": large,
        "cost_growth": small / large,
        "contested_steps_per_s_64": contested[0],
        "contested_steps_per_s_1024": contested[1],
        "contested_cost_growth": contested[0] / contested[1],
        "peak_mib_4096": weight_mib,
        "ssgd_steps_per_s_64": steps_per_s(ssgd(64, 500), rounds),
        "hierarchical_steps_per_s_64": grouped_per_s,
        "hierarchical_16_epochs_s": whole_s or steps_of_all / grouped_per_s,
        "hierarchical_code_16_epochs_s": steps_of_all / grouped_code_per_s,
        "events_per_step": asked.events / asked.steps,
        "waits_per_step": asked.waits / asked.steps,
        "callbacks_per_step": asked.callbacks / asked.steps,
        "simpy_timeouts_per_s": asked.events / events_s,
        "part_of_simpy": waits_s * small / asked.steps,
        "part_of_simpy_by_events": events_s * small / asked.steps,
        "code_steps_per_s_64": code,
        "part_of_code": small / code,
        "code_part_of_simpy": waits_s * code / asked.steps,
        "simgrid_steps_per_s_64": simgrid,
        "times_simgrid": small / simgrid if simgrid else None,
    }


def table(figures: dict[str, float | None]) -> Table:
    """The figures, each with its goal and its meaning."""

    def shown(figure: float | None) -> str:
        if figure is None:
            return "no SimGrid"
        return f"{figure:,.0f}" if figure > 100 else f"{figure:.2f}"

    return tabled("Speed of the simulator", figures, KEYS, GOALS, shown)


def main() -> None:
    """Measure and print."""
    parser = options("How fast the simulator is, in whole runs and in processor time.", KEYS)
    parser.add_argument("--whole", action="store_true", help="run all 16 epochs of H-ADPSGD")
    parser.add_argument("--rounds", type=int, default=2, help="rounds of a figure, the best counts")
    words = parser.parse_args()
    tell(measure(words.rounds, words.whole), table, as_json=words.json)


if __name__ == "__main__":
    main()
