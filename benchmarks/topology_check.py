"""How long `dualrt topology check` takes, for a thousand and ten thousand learners.

    python benchmarks/topology_check.py [--json] [--rounds N]

Times the command as a user runs it, interpreter and imports included, by the clock, on graphs of
every kind; and the optimisation of shares (`fastest`, `fdla`) by number of learners, where cvxpy is
installed. Each figure is the best of `--rounds` runs. Whether a graph passes does not matter here,
only that it is judged.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track
from rich.table import Table

from dualrt.topology import specs, weights

# A script finds its neighbours by their own names, the type checker by the folder's too.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.figures import options, tell

GOALS_S = {1_024: 3.0, 10_000: 30.0}
"""By number of learners."""

SPECS = {
    1_024: (
        "ring:1024",
        "torus:32x32",
        "hypercube:1024",
        "exponential:1024",
        "one-peer-exponential:1024",
        "random-regular:1024x4@7",
        "random-matching:1024@7",
        "cluster-aware:128x8/exponential",
        "hierarchical:128x8/ring",
        "complete:1024",
    ),
    10_000: (
        "ring:10000",
        "torus:100x100",
        "exponential:10000",
        "random-regular:10000x4@7",
        "random-matching:10000@7",
        "cluster-aware:1250x8/exponential",
    ),
}

OPTIMISED = (16, 32, 64, 100)
"""Learners of rings whose shares are optimised."""

KEYS = {
    "check_s": "seconds of `dualrt topology check SPEC --json`, by spec",
    "slowest_s_1024": "the longest of those with 1,024 learners (goal: below 3)",
    "slowest_s_10000": "the longest of those with 10,000 (goal: below 30)",
    "optimised_s": "seconds of the shares of a ring, by rule and learners; {} without cvxpy",
    "load": "load average before and after",
}
"""What `--json` prints, key by key."""


def check_s(spec: str) -> float:
    """One run of the command; raises SystemExit unless it judged the graph."""
    began_s = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "dualrt", "topology", "check", spec, "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    took_s = time.perf_counter() - began_s
    if done.returncode not in (0, 1) or "verdict" not in json.loads(done.stdout):
        raise SystemExit(f"{spec}: exit code {done.returncode}\n{done.stderr}")
    return took_s


def optimised_s(rule: str, learners: int) -> float:
    """One optimisation of the shares on a ring."""
    graph = specs.build(f"ring:{learners}")
    began_s = time.perf_counter()
    weights.RULES[rule](graph)
    return time.perf_counter() - began_s


def measure(rounds: int) -> dict[str, Any]:
    """All figures; a bar on stderr says how far it is."""
    load = [os.getloadavg()[0]]
    bar = Console(stderr=True)
    every = [(learners, spec) for learners, some in SPECS.items() for spec in some]
    checks, slowest = {}, dict.fromkeys(SPECS, 0.0)
    for learners, spec in track(every, "check", console=bar, transient=True):
        checks[spec] = min(check_s(spec) for _ in range(rounds))
        slowest[learners] = max(slowest[learners], checks[spec])
    optimised: dict[str, dict[int, float]] = {}
    if importlib.util.find_spec("cvxpy"):
        pairs = [(rule, learners) for rule in ("fastest", "fdla") for learners in OPTIMISED]
        for rule, learners in track(pairs, "optimise", console=bar, transient=True):
            optimised.setdefault(rule, {})[learners] = optimised_s(rule, learners)
    load.append(os.getloadavg()[0])
    return {
        "check_s": checks,
        **{f"slowest_s_{learners}": took_s for learners, took_s in slowest.items()},
        "optimised_s": optimised,
        "load": load,
    }


def table(found: dict[str, Any]) -> Table:
    """For people."""
    shown = Table("", "seconds", "goal")
    for learners, some in SPECS.items():
        for spec in some:
            shown.add_row(spec, f"{found['check_s'][spec]:.2f}", f"below {GOALS_S[learners]:g}")
    for rule, by_learners in found["optimised_s"].items():
        for learners, took_s in by_learners.items():
            shown.add_row(f"ring:{learners}, {rule}", f"{took_s:.2f}", "")
    return shown


def main() -> None:
    """Measure and print."""
    parser = options((__doc__ or "").partition("\n")[0], KEYS)
    parser.add_argument("--rounds", type=int, default=1, help="runs, of which the best counts")
    words = parser.parse_args()
    tell(measure(words.rounds), table, as_json=words.json)


if __name__ == "__main__":
    main()
