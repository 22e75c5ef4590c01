"""What it costs to hand control to a learner and back, once an effect.

    python benchmarks/switching.py [--json]

Each row runs the same body, which awaits one effect after another, under another kind of driver
(docs/decisions/0001-effects-without-an-event-loop.md, 0004-callbacks-not-processes.md). Prints
nanoseconds an effect, the best of several rounds, and the ratio to the cheapest.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import simpy
from rich.table import Table

from dualrt.core import Now, Sleep

# A script finds its neighbours by their own names, the type checker by the folder's too.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.figures import options, tell

KEYS = {
    "ns_per_effect": "by driver: nanoseconds an effect, the best of several rounds",
    "ratios": "by driver: the same / that of the cheapest",
}
"""What `--json` prints."""

EFFECTS = 100_000
ROUNDS = 5


async def body(effect: Any) -> None:
    """A strand that does nothing but ask."""
    for _ in range(EFFECTS):
        await effect


def by_send() -> None:
    """The bare coroutine: what every driver of dualrt pays at least."""
    strand = body(Now())
    try:
        while True:
            strand.send(None)
    except StopIteration:
        return


def by_asyncio() -> None:
    """An event loop that switches tasks at each await."""

    async def turns() -> None:
        for _ in range(EFFECTS):
            await asyncio.sleep(0)

    asyncio.run(turns())


def by_callbacks() -> None:
    """SimPy timeouts whose callback resumes the strand: what the simulator does."""
    env = simpy.Environment()
    strand = body(Sleep(1.0))

    def resume(_: Any) -> None:
        try:
            effect = strand.send(None)
        except StopIteration:
            return
        env.timeout(effect.duration_s).callbacks.append(resume)

    resume(None)
    env.run()


def by_processes() -> None:
    """A SimPy process that exhausts the strand and yields a timeout for each effect."""
    env = simpy.Environment()

    def process() -> Generator[Any, Any, None]:
        strand = body(Sleep(1.0))
        while True:
            try:
                effect = strand.send(None)
            except StopIteration:
                return
            yield env.timeout(effect.duration_s)

    env.process(process())
    env.run()


def by_parts() -> None:
    """As by processes, but each effect in a process of its own: what each part of a `Together`
    would cost."""
    env = simpy.Environment()

    def part() -> Generator[Any, Any, None]:
        yield env.timeout(1.0)

    def process() -> Generator[Any, Any, None]:
        for _ in range(EFFECTS):
            yield env.process(part())

    env.process(process())
    env.run()


def seconds(run: Callable[[], None]) -> float:
    """The shortest of several rounds: the one that was disturbed least."""
    durations = []
    for _ in range(ROUNDS):
        start_s = time.perf_counter()
        run()
        durations.append(time.perf_counter() - start_s)
    return min(durations)


def main() -> None:
    """Print one row a driver."""
    words = options("What it costs to hand control over and back.", KEYS).parse_args()
    drivers = (by_send, by_callbacks, by_processes, by_parts, by_asyncio)
    costs_ns = {run.__name__: 1e9 * seconds(run) / EFFECTS for run in drivers}
    cheapest = min(costs_ns.values())
    ratios = {name: cost_ns / cheapest for name, cost_ns in costs_ns.items()}
    tell({"ns_per_effect": costs_ns, "ratios": ratios}, table, as_json=words.json)


def table(figures: Any) -> Table:
    """A row a driver."""
    made = Table("driver", "ns an effect", "of the cheapest", title="To hand over and back")
    for name, cost_ns in figures["ns_per_effect"].items():
        ratio = figures["ratios"][name]
        made.add_row(name.replace("_", " "), f"{cost_ns:.0f}", f"{ratio:.1f}")
    return made


if __name__ == "__main__":
    main()
