"""Does `--steady` tell what the whole run comes to, within the interval that it gives?

    python benchmarks/steady.py [--seeds N] [--json]

Timing-only runs of four V100, 4,980 rounds each, of five algorithms and as many seeds as asked for:
each to its end, and again with `simulation.steady_percent = 0.5`. Compared is `hours_total`, and
half of the 95 % confidence interval that the steady run gives is what it may be off by. By chance
one in twenty may be off by more, if the interval is right; it is the widest of several, so fewer
should be.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.table import Table

from benchmarks.figures import options, tell
from dualrt import api
from dualrt.observe.summary import Summary
from dualrt.scenario import load

SCENARIO = (
    "learners=4",
    "training.epochs=0.1",
    "simulation.epochs=0.1",
    "cluster.device.step_cv=0.04",
    "cluster.device.device_sigma=0.01",
)

ALGORITHMS = (
    "{name='adpsgd'}",
    "{name='adpsgd', exchange='lock'}",
    "{name='h-adpsgd', learners_per_group=2}",
    "{name='ssgd'}",
    "{name='asgd'}",
)

PERCENT = 0.5

KEYS = {
    "compared": "runs, each to its end and again with --steady",
    "extrapolated": "those that ended early: their rate was known before the end",
    "within": "of these, those whose hours_total is within the interval of the whole run's",
    "farthest_percent": "by how much the farthest is off",
    "simulated": "the part of all updates that the steady runs simulated, on average",
    "runs": "each: algorithm, seed, ci_percent, off_percent, simulated",
}


def compare(seeds: int) -> Iterator[dict[str, Any]]:
    """One run to its end, and until its rate is known."""
    for algorithm in ALGORITHMS:
        for seed in range(1, seeds + 1):
            whole, early = (run(algorithm, seed, percent) for percent in (0.0, PERCENT))
            assert early.steady is not None
            yield {
                "algorithm": algorithm,
                "seed": seed,
                "ci_percent": early.steady.ci_percent if early.steady.extrapolated else None,
                "off_percent": 100 * (hours(early) / hours(whole) - 1),
                "simulated": early.updates / whole.updates,
            }


def run(algorithm: str, seed: int, percent: float) -> Summary:
    """The figures of a run, to its end if `percent` is 0."""
    steady = [f"simulation.steady_percent={percent}"] if percent else []
    words = [*SCENARIO, f"algorithm={algorithm}", f"seed={seed}", *steady]
    return api.simulate(load("swb2000-adpsgd-16", words)).summary


def hours(summary: Summary) -> float:
    """What it comes to; it is known of runs that say how many epochs there are."""
    assert summary.hours_total is not None
    return summary.hours_total


def figures(seeds: int) -> dict[str, Any]:
    """All that is told, by `KEYS`."""
    runs = list(compare(seeds))
    told = [one for one in runs if one["ci_percent"] is not None]
    return {
        "compared": len(runs),
        "extrapolated": len(told),
        "within": sum(abs(one["off_percent"]) < one["ci_percent"] for one in told),
        "farthest_percent": max((abs(one["off_percent"]) for one in told), default=None),
        "simulated": sum(one["simulated"] for one in runs) / len(runs),
        "runs": runs,
    }


def table(found: dict[str, Any]) -> Table:
    """A row an algorithm."""
    made = Table("algorithm", "runs", "extrapolated", "within", "farthest off, %", "simulated")
    for algorithm in ALGORITHMS:
        runs = [one for one in found["runs"] if one["algorithm"] == algorithm]
        told = [one for one in runs if one["ci_percent"] is not None]
        off = [abs(one["off_percent"]) for one in told]
        within = sum(abs(one["off_percent"]) < one["ci_percent"] for one in told)
        part = sum(one["simulated"] for one in runs) / len(runs)
        farthest = f"{max(off):.3f}" if off else ""
        counts = map(str, (len(runs), len(told), within))
        made.add_row(algorithm, *counts, farthest, f"{part:.0%}")
    return made


def main() -> None:
    """Compare, and print."""
    parser = options("Whether --steady agrees with the whole run within its interval.", KEYS)
    parser.add_argument("--seeds", type=int, default=8, help="of each algorithm (default 8)")
    asked = parser.parse_args()
    tell(figures(asked.seeds), table, as_json=asked.json)


if __name__ == "__main__":
    main()
