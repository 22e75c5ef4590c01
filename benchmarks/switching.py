"""What it costs to hand control to a learner and back, once an effect.

    python benchmarks/switching.py

Each row runs the same body, which awaits one effect after another, under another kind of driver
(docs/decisions/0001-effects-without-an-event-loop.md, 0004-callbacks-not-processes.md). Prints
nanoseconds an effect, the best of several rounds, and the ratio to the cheapest.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Callable, Generator
from typing import Any

import simpy

from dualrt.core import Now, Sleep

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
    parser = argparse.ArgumentParser(description="What it costs to hand control over and back.")
    parser.add_argument("--json", action="store_true", help="print one object on stdout alone")
    as_json = parser.parse_args().json
    drivers = (by_send, by_callbacks, by_processes, by_parts, by_asyncio)
    costs_ns = {run: 1e9 * seconds(run) / EFFECTS for run in drivers}
    cheapest = min(costs_ns.values())
    if as_json:
        figures = {run.__name__: cost_ns for run, cost_ns in costs_ns.items()}
        ratios = {name: cost_ns / cheapest for name, cost_ns in figures.items()}
        print(json.dumps({"ns_per_effect": figures, "ratios": ratios}))
        return
    for run, cost_ns in costs_ns.items():
        name = run.__name__.replace("_", " ")
        print(f"{name:14} {cost_ns:8.0f} ns an effect   {cost_ns / cheapest:5.1f} x")


if __name__ == "__main__":
    main()
