"""What it costs those that live when processes are killed and come back.

    python benchmarks/kills.py [--json] [--learners N] [--seconds S] [--calm S] [--seed N]

Trains the digits with real processes on this machine. Every few seconds one of them, at random, is
killed (SIGKILL), and `dualrt train --local` starts it again (`real.restarts`). So a run has phases
in which somebody is away, from the kill to the first gradient after the return, and calm ones
between them. The rates of those that live are compared within the run, each phase with the calm
ones before and after it: a machine that is slower in one minute than in the next is so in both.

A process that comes back loads Python and torch, which takes processor time of those that share its
cores, whatever the runtime does. How much that is tells a second run, in which nobody is killed:
instead a process that takes no part loads the same. Its accuracy is the undisturbed one.

Every gradient sleeps (`paced.py`), so that learners do not compete for cores with each other.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from bisect import bisect_left
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.figures import options, tabled, tell
from benchmarks.paced import MARK, MARKS, STEP_S

KEYS = {
    "learners": "processes",
    "cores": "that they have",
    "kills": "how many were killed",
    "returns": "how many were started again and rejoined",
    "exchanges_abandoned": "by those that were there at the end",
    "away_s": "mean time from a kill to the first gradient after it",
    "restart_cpu_s": "mean processor time of a process that is started again, until then",
    "steps_per_s": "updates a second of a learner in calm phases",
    "rate_ratio": "the same of those that live while one is away / in calm phases",
    "import_ratio": "the same where nobody is killed, and another process loads what one does",
    "longest_gap_calm_s": "longest time without an update of a learner in a calm phase",
    "longest_gap_s": "the same of those that live while one is away",
    "accuracy_percent": "of the delivered model, with kills",
    "accuracy_nominal_percent": "of the delivered model, where nobody is killed",
}
"""What `--json` prints, key by key."""

GOALS = {
    "rate_ratio": "above 0.9",
    "longest_gap_s": "below 1, a heartbeat",
    "accuracy_percent": "within 1 of the next",
}

TIMEOUT_S = 20

BATCH = 16

SAMPLES_PER_EPOCH = 1424

PATIENCE_S = 120.0

LOADS = (
    "import dualrt.cli, dualrt.modes.real, dualrt.real.session, dualrt.workloads.digits; "
    "from sklearn.datasets import load_digits; load_digits()"
)
"""What a process that takes part loads, in one that does not."""


class Phase(NamedTuple):
    """A time in which something was away, or loaded; and who of the learners was away."""

    start_s: float
    end_s: float
    who: int | None


class Run(NamedTuple):
    """What a run came to."""

    summary: dict[str, Any]
    marks: dict[int, list[float]]
    """When gradients ended, by learner, of all its lives."""
    phases: list[Phase]
    calm: list[Phase]
    """The times before, between and after these: one more than there are phases."""
    restart_cpu_s: list[float]


Disturb = Callable[[subprocess.Popen[str], Path, random.Random], Phase]
"""Does something to a run, and returns when that is over."""


def train(learners: int, seconds: float, calm_s: float, seed: int, disturb: Disturb) -> Run:
    """Train for about so long, and disturb that in between."""
    with tempfile.TemporaryDirectory() as folder:
        marks = Path(folder, "marks")
        marks.mkdir()
        with started(learners, seconds, Path(folder)) as parent:
            try:
                await_(parent, lambda: len(list(marks.iterdir())) == learners)
                began_s = time.monotonic()
                phases = disturbed(parent, seconds, calm_s, seed, marks, disturb)
                printed, said = parent.communicate(timeout=10 * seconds + PATIENCE_S)
            finally:
                parent.kill()
        if parent.returncode:
            raise SystemExit(f"the run failed with exit code {parent.returncode}:\n{said}")
        files = sorted(marks.iterdir(), key=lambda file: tuple(map(int, file.name.split("."))))
        lives = {file.name: values(file) for file in files}
    made: dict[int, list[float]] = {rank: [] for rank in range(learners)}
    for name, (_, *life) in lives.items():
        made[int(name.partition(".")[0])] += life
    ended_s = min(life[-1] for life in made.values())
    restart_cpu_s = [life[0] for name, life in lives.items() if not name.endswith(".0")]
    calm = between(phases, began_s, ended_s)
    return Run(json.loads(printed), made, phases, calm, restart_cpu_s)


def started(learners: int, seconds: float, folder: Path) -> subprocess.Popen[str]:
    """Start a run of about so long in a folder."""
    epochs = learners * seconds / STEP_S * BATCH / SAMPLES_PER_EPOCH
    settings = [
        "workload.name='benchmarks.paced:Paced'",
        f"workload.batch={BATCH}",
        f"training.epochs={epochs!r}",
        f"training.schedule={schedule(epochs)}",
        "real.restarts=1000",
        f"real.timeout_s={TIMEOUT_S}",
    ]
    words = [word for setting in settings for word in ("--set", setting)]
    command = [sys.executable, "-m", "dualrt", "train", "digits-adpsgd", "--json"]
    return subprocess.Popen(
        [*command, "--local", str(learners), "--out", str(folder / "out"), *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).resolve().parents[1],
        env={**os.environ, MARKS: str(folder / "marks")},
    )


def schedule(epochs: float) -> str:
    """One that ends at a hundredth of its peak, so that accuracy is not that of a moment."""
    decay = 0.01 ** (1 / epochs)
    return f"{{kind='warmup-anneal', base=0.1, peak=0.4, warmup_epochs=10, decay={decay!r}}}"


def disturbed(
    parent: subprocess.Popen[str],
    seconds: float,
    calm_s: float,
    seed: int,
    marks: Path,
    disturb: Disturb,
) -> list[Phase]:
    """Disturb a run now and then, until it is nearly over."""
    draw = random.Random(seed)
    until_s = time.monotonic() + 0.9 * seconds
    phases: list[Phase] = []
    while True:
        time.sleep(calm_s * draw.uniform(0.7, 1.3))
        if parent.poll() is not None or time.monotonic() + calm_s > until_s:
            return phases
        phases.append(disturb(parent, marks, draw))


def kill(parent: subprocess.Popen[str], marks: Path, draw: random.Random) -> Phase:
    """Kill a learner, and wait for its return."""
    processes = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()
    victim = int(draw.choice(processes))
    environment = Path(f"/proc/{victim}/environ").read_text().split("\0")
    rank = next(int(one[5:]) for one in environment if one.startswith("RANK="))
    lives = len(list(marks.glob(f"{rank}.*")))
    began_s = time.monotonic()
    os.kill(victim, signal.SIGKILL)
    await_(parent, lambda: len(list(marks.glob(f"{rank}.*"))) > lives)
    return Phase(began_s, time.monotonic(), rank)


def load(parent: subprocess.Popen[str], marks: Path, draw: random.Random) -> Phase:
    """Load what a learner loads, and let all of them be."""
    began_s = time.monotonic()
    subprocess.run(
        [sys.executable, "-c", LOADS], check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    return Phase(began_s, time.monotonic(), None)


def await_(parent: subprocess.Popen[str], condition: Callable[[], bool]) -> None:
    """Wait until it is so, or the run is over."""
    end_s = time.monotonic() + PATIENCE_S
    while not condition() and parent.poll() is None:
        if time.monotonic() > end_s:
            raise SystemExit(f"nothing came of it in {PATIENCE_S:g} s")
        time.sleep(0.02)


def values(file: Path) -> list[float]:
    """The numbers in a file, as far as they are whole."""
    content = file.read_bytes()
    whole = len(content) // MARK.size * MARK.size
    return [one for (one,) in MARK.iter_unpack(content[:whole])]


def between(phases: Sequence[Phase], began_s: float, ended_s: float) -> list[Phase]:
    """The calm times: before, between and after what disturbed a run."""
    inner = (edge for phase in phases for edge in (phase.start_s, phase.end_s))
    edges = [began_s, *inner, ended_s]
    pairs = zip(edges[::2], edges[1::2], strict=True)
    return [Phase(start_s, end_s, None) for start_s, end_s in pairs]


def ratio(run: Run) -> float:
    """Mean over phases of the rate of those that lived in them / just before and after."""
    return mean(
        rate(run, [phase], phase.who) / rate(run, around, phase.who)
        for phase, around in zip(run.phases, pairwise(run.calm), strict=True)
    )


def rate(run: Run, phases: Sequence[Phase], but: int | None) -> float:
    """Updates a second, in these times, of a learner other than one."""
    living = [marks for rank, marks in run.marks.items() if rank != but]
    steps = sum(
        bisect_left(marks, phase.end_s) - bisect_left(marks, phase.start_s)
        for marks in living
        for phase in phases
    )
    return steps / len(living) / sum(phase.end_s - phase.start_s for phase in phases)


def longest_gap_s(run: Run, phases: Sequence[Phase]) -> float:
    """Between two updates of a learner that was there, of which one was in these times."""
    return max(
        late - soon
        for phase in phases
        for rank, marks in run.marks.items()
        if rank != phase.who
        for soon, late in pairwise(marks)
        if soon < phase.end_s and late > phase.start_s and not absent(run, rank, soon, late)
    )


def absent(run: Run, rank: int, soon_s: float, late_s: float) -> bool:
    """Whether a learner was away between two of its updates."""
    return any(
        one.who == rank and soon_s < one.end_s and late_s > one.start_s for one in run.phases
    )


def measured(learners: int, seconds: float, calm_s: float, seed: int) -> dict[str, Any]:
    """Both runs, and what they say."""
    rough = train(learners, seconds, calm_s, seed, kill)
    calm = train(learners, seconds, calm_s, seed, load)
    faults = rough.summary.get("faults") or {}
    return {
        "learners": learners,
        "cores": len(os.sched_getaffinity(0)),
        "kills": len(rough.phases),
        "returns": faults.get("returns", 0),
        "exchanges_abandoned": faults.get("exchanges_abandoned", 0),
        "away_s": mean(phase.end_s - phase.start_s for phase in rough.phases),
        "restart_cpu_s": mean(rough.restart_cpu_s),
        "steps_per_s": rate(rough, rough.calm, None),
        "rate_ratio": ratio(rough),
        "import_ratio": ratio(calm),
        "longest_gap_calm_s": longest_gap_s(calm, calm.calm),
        "longest_gap_s": longest_gap_s(rough, rough.phases),
        "accuracy_percent": 100.0 * float(rough.summary["accuracy"]),
        "accuracy_nominal_percent": 100.0 * float(calm.summary["accuracy"]),
    }


def main() -> None:
    """Measure and print."""
    parser = options(__doc__ or "", KEYS)
    parser.add_argument("--learners", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=60.0, help="about how long a run takes")
    parser.add_argument("--calm", type=float, default=3.0, help="seconds of calm, about")
    parser.add_argument("--seed", type=int, default=1, help="of who is killed, and when")
    chosen = parser.parse_args()
    figures = measured(chosen.learners, chosen.seconds, chosen.calm, chosen.seed)
    tell(
        figures,
        lambda found: tabled("kills", found, KEYS, GOALS, lambda one: f"{one:.4g}"),
        as_json=chosen.json,
    )


if __name__ == "__main__":
    main()
