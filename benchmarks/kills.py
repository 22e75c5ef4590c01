"""What it costs when processes are killed.

    python benchmarks/kills.py [--json] [--learners N] [--seconds S] [--every S] [--seed N]

Trains the digits twice, with real processes on this machine: undisturbed, and with one learner
killed (SIGKILL) every few seconds, at random, and started again by `dualrt train --local`
(`real.restarts`). Every step sleeps, so that the processes do not compete for cores and a rate
below the undisturbed one is the runtime's doing.

Rates come from the records that each process writes: updates a second between the first and the
last update of each life of a learner, weighted by their lengths. The learner that was killed has no
part in the time that it is away. `longest_gap_s` is the longest time that a learner that was not
killed made no update.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

KEYS = {
    "learners": "processes",
    "kills": "how many were killed",
    "returns": "how many were started again and rejoined",
    "exchanges_abandoned": "by those that were there at the end",
    "nominal_steps_per_s": "updates a second of one learner, undisturbed",
    "steps_per_s": "the same of those that lived, while others were killed",
    "rate_ratio": "the second / the first; goal above 0.9",
    "longest_gap_nominal_s": "longest time without an update of a learner, undisturbed",
    "longest_gap_s": "the same while others were killed",
    "accuracy_nominal_percent": "of the delivered model, undisturbed",
    "accuracy_percent": "with kills; goal: within 1 of it",
}
"""What `--json` prints, key by key."""

STEP_S = 0.025
"""About how long a step takes with its sleep: a gradient takes 0.5 ms, and SLOWER times as long."""

SLOWER = 15.0

BATCH = 16

MEETING_S = 3.0
"""How long processes need at most to find each other, once all are there."""

SAMPLES_PER_EPOCH = 1424


class Run(NamedTuple):
    """What a run came to."""

    summary: dict[str, Any]
    rate: float
    gap_s: float
    kills: int


def train(learners: int, seconds: float, out: Path, every_s: float | None, seed: int) -> Run:
    """Train for about so long; with `every_s`, kill a learner that often once all have begun."""
    epochs = learners * seconds / STEP_S * BATCH / SAMPLES_PER_EPOCH
    slow = ", ".join(f"{{learner = {rank}, factor = {SLOWER}}}" for rank in range(learners))
    settings = [
        f"training.epochs={epochs!r}",
        f"faults.stragglers=[{slow}]",
        f"workload.batch={BATCH}",
        "real.restarts=1000",
        "real.timeout_s=20",
        "training.schedule={kind='constant', rate=0.1}",
    ]
    words = [word for setting in settings for word in ("--set", setting)]
    command = [sys.executable, "-m", "dualrt", "train", "digits-adpsgd", "--json"]
    parent = subprocess.Popen(
        [*command, "--local", str(learners), "--out", str(out), *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    kills = 0
    try:
        if every_s is not None:
            kills = strike(parent, learners, seconds, out, every_s, seed)
        printed, said = parent.communicate(timeout=20 * seconds + 120)
    finally:
        parent.kill()
    if parent.returncode:
        raise SystemExit(f"the run failed with exit code {parent.returncode}:\n{said}")
    lives = [times for file in sorted(out.glob("records-*.jsonl")) if (times := updates_s(file))]
    spans_s = [times[-1] - times[0] for times in lives]
    rate = sum(len(times) - 1 for times in lives) / sum(spans_s)
    gap_s = max(late - soon for times in lives for soon, late in pairwise(times))
    return Run(json.loads(printed), rate, gap_s, kills)


def strike(
    parent: subprocess.Popen[str],
    learners: int,
    seconds: float,
    out: Path,
    every_s: float,
    seed: int,
) -> int:
    """Kill a process now and then, until the run is nearly over."""
    draw = random.Random(seed)
    # They open their records when they have loaded all that they need, and then meet.
    while len(list(out.glob("records-*.jsonl"))) < learners:
        if parent.poll() is not None:
            return 0
        time.sleep(0.1)
    time.sleep(MEETING_S)
    kills, until_s = 0, time.monotonic() + 0.8 * seconds
    while parent.poll() is None and time.monotonic() + every_s < until_s:
        time.sleep(every_s * draw.uniform(0.7, 1.3))
        children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()
        if children:
            os.kill(int(draw.choice(children)), signal.SIGKILL)
            kills += 1
    return kills


def updates_s(file: Path) -> list[float]:
    """When the updates of one life were made, as far as its file is whole."""
    times = []
    for line in file.read_text().splitlines():
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            break
        if "update" in record:
            times.append(float(record["update"][0]))
    return times


def measured(learners: int, seconds: float, every_s: float, seed: int) -> dict[str, Any]:
    """Both runs, and what they say."""
    with tempfile.TemporaryDirectory() as folder:
        calm = train(learners, seconds, Path(folder, "calm"), None, seed)
        rough = train(learners, seconds, Path(folder, "rough"), every_s, seed)
    faults = rough.summary.get("faults") or {}
    return {
        "learners": learners,
        "kills": rough.kills,
        "returns": faults.get("returns", 0),
        "exchanges_abandoned": faults.get("exchanges_abandoned", 0),
        "nominal_steps_per_s": calm.rate,
        "steps_per_s": rough.rate,
        "rate_ratio": rough.rate / calm.rate,
        "longest_gap_nominal_s": calm.gap_s,
        "longest_gap_s": rough.gap_s,
        "accuracy_nominal_percent": accuracy_percent(calm.summary),
        "accuracy_percent": accuracy_percent(rough.summary),
    }


def accuracy_percent(summary: dict[str, Any]) -> float:
    """What the delivered model gets right of the held-out digits."""
    return 100.0 * float(summary["accuracy"])


def main() -> None:
    """Measure and print."""
    keys = "\n".join(f"  {key}: {meaning}" for key, meaning in KEYS.items())
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=f"keys of --json:\n{keys}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="print one object and nothing else")
    parser.add_argument("--learners", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=60.0, help="about how long a run takes")
    parser.add_argument("--every", type=float, default=4.0, help="seconds between kills, about")
    parser.add_argument("--seed", type=int, default=1, help="of who is killed, and when")
    chosen = parser.parse_args()
    figures = measured(chosen.learners, chosen.seconds, chosen.every, chosen.seed)
    if chosen.json:
        print(json.dumps(figures))
        return
    table = Table("figure", "value", "meaning")
    for key, value in figures.items():
        table.add_row(key, f"{value:.4g}" if isinstance(value, float) else str(value), KEYS[key])
    Console().print(table)


if __name__ == "__main__":
    main()
