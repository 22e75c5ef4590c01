"""What computing real gradients costs the simulator, and what taking them together saves.

    python benchmarks/numerics.py [--json] [--rounds N] [--learners N]

Processor time, torch on one thread.

- `gradients`: those of so many learners on the digits' network (64-50-50-10), each at weights of
  its own, one by one and in one go, by turns; the best of some rounds each.
- `run`: the whole of sims/digits-adpsgd.toml with so many learners, both ways, by turns:
  composition, network, observers and evaluation included.
- `blstm`: the model, batch and four learners of sims/speech-adpsgd.toml on noise. `overhead` is
  what the simulator adds to the time of the gradients: its run, less the gradients, less what
  learners do with weights (copies, descent with momentum, blends), which a real run has to do too
  and `weights` counts.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any
from unittest import mock

import numpy as np
import torch
from rich.table import Table

from dualrt import api
from dualrt.core.workload import GradientOf
from dualrt.scenario import Scenario, load
from dualrt.sim.driver import Simulator
from dualrt.workloads.asr.store import Block, Description, SpeechWriter
from dualrt.workloads.digits import Digits
from dualrt.workloads.speech import Speech
from dualrt.workloads.torch_weights import TorchWeights

# A script finds its neighbours by their own names, the type checker by the folder's too.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.figures import options, tabled, tell

KEYS = {
    "gradients_speedup": "time of the learners' gradients one by one / together, batch 16",
    "gradients_speedup_batch_64": "the same, batch 64",
    "gradient_us": "microseconds of a gradient, one by one, batch 16",
    "gradient_together_us": "the same, together",
    "apart": "largest distance of two such gradients / norm, either batch",
    "loss_apart": "largest difference of their losses / loss",
    "equal_bits": "share of the gradients that are equal to the bit",
    "first_s": "seconds that the first use takes besides, for a trial and what torch loads for it",
    "run_speedup": "time of a whole run one by one / together",
    "run_step_us": "microseconds of a learner's step in it, together",
    "run_apart": "distance of the two delivered models / norm",
    "run_timing_equal": "whether the two timing digests are equal",
    "blstm_gradient_ms": "milliseconds of a gradient of the BLSTM",
    "blstm_overhead": "time that the simulator adds / time of the gradients",
    "blstm_weights": "time of copies, descent and blends / time of the gradients",
}
"""What `--json` prints, key by key."""

GOALS = {
    "gradients_speedup": ">= 4",
    "apart": "<= 1e-6",
    "run_timing_equal": "True",
    "blstm_overhead": "< 0.03",
}

PHONES, BLSTM_STEPS = 40, 8
EPOCHS = 20


def spent_s(work: Callable[[], Any]) -> float:
    """Processor time."""
    began_s = time.process_time()
    work()
    return time.process_time() - began_s


def best_by_turns(rounds: int, *works: Callable[[], Any]) -> list[float]:
    """The least time of each, all of them in every round, so that a busy period hits all."""
    spent = [[spent_s(work) for work in works] for _ in range(rounds)]
    return [min(times) for times in zip(*spent, strict=True)]


def digits_gradients(learners: int, batch: int, rounds: int) -> dict[str, float]:
    """Times of all learners' gradients, and how far apart the two ways are."""
    workload = Digits(seed=1, learners=learners, batch=batch)
    at = workload.weights(0).snapshot().vector
    generator = torch.Generator().manual_seed(1)
    asked = [
        GradientOf(workload, at + 0.01 * torch.randn(len(at), generator=generator), rank, 3)
        for rank in range(learners)
    ]
    first_s = spent_s(lambda: workload.gradients_at_once)
    most = workload.gradients_at_once

    def together() -> list[Any]:
        return [
            gradient
            for start in range(0, learners, most)
            for gradient in workload.gradients(asked[start : start + most])
        ]

    alone_s, together_s = best_by_turns(rounds, lambda: [one() for one in asked], together)
    pairs = list(zip([one() for one in asked], together(), strict=True))
    return {
        "speedup": alone_s / together_s,
        "alone_us": 1e6 * alone_s / learners,
        "together_us": 1e6 * together_s / learners,
        "apart": max(float((b.vector - a.vector).norm() / a.vector.norm()) for a, b in pairs),
        "loss_apart": max(abs(b.loss - a.loss) / a.loss for a, b in pairs),
        "equal_bits": sum(torch.equal(a.vector, b.vector) for a, b in pairs) / learners,
        "first_s": first_s,
    }


def digits_run(learners: int, gradients: str) -> Scenario:
    """AD-PSGD on a ring."""
    overrides = [
        f"learners={learners}",
        f"training.epochs={EPOCHS}",
        f"simulation.gradients={gradients}",
    ]
    return load("digits-adpsgd", overrides)


def runs(learners: int, rounds: int) -> dict[str, Any]:
    """Times of whole runs, and how far apart they end."""
    ends: dict[str, api.Outcome] = {}

    def run(gradients: str) -> None:
        ends[gradients] = api.simulate(digits_run(learners, gradients))

    alone_s, together_s = best_by_turns(rounds, lambda: run("one-by-one"), lambda: run("together"))
    alone, together = ends["one-by-one"], ends["together"]
    return {
        "speedup": alone_s / together_s,
        "step_us": 1e6 * together_s / together.tally.steps,
        "apart": float((together.model - alone.model).norm() / alone.model.norm()),
        "timing_equal": together.summary.digest.timing == alone.summary.digest.timing,
    }


def noise(path: Path, segments: int) -> None:
    """A file of prepared speech that is noise: what is measured does not depend on what is said."""
    draw = np.random.default_rng(1)
    labels = draw.integers(PHONES, size=(segments, 21))
    block = Block(
        draw.normal(size=(segments, 21, 120)).astype(np.float16),
        labels.astype(np.uint8),
        labels.astype(np.int16),
    )
    names = [str(phone) for phone in range(PHONES)]
    with SpeechWriter(path) as writer:
        writer.append("train", block)
        writer.append("heldout", block)
        writer.finish(Description("noise", "", True, phone_names=names, states=PHONES))


@contextmanager
def timed(owner: type[Any], method: str) -> Iterator[list[float]]:
    """The processor time of each call of a method."""
    original, times = getattr(owner, method), []

    def timing(*arguments: Any) -> Any:
        began_s = time.process_time()
        try:
            return original(*arguments)
        finally:
            times.append(time.process_time() - began_s)

    with mock.patch.object(owner, method, timing):
        yield times


def blstm(rounds: int) -> dict[str, float]:
    """Shares of the time of the gradients, the median of some rounds, and one gradient's time."""
    parts = (
        (Simulator, "run"),
        (Speech, "gradient"),
        *((TorchWeights, step) for step in ("snapshot", "descend", "blend")),
    )
    overheads, weights, gradient_s = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "noise.h5"
        noise(path, 4 * 32 * BLSTM_STEPS)
        scenario = load("speech-adpsgd", [f"workload.data={path}", "training.epochs=1"])
        for _ in range(rounds):
            with ExitStack() as timers:
                times = [timers.enter_context(timed(*part)) for part in parts]
                api.simulate(scenario)
            run_s, gradients_s, *steps_s = (sum(spent) for spent in times)
            overheads.append((run_s - gradients_s - sum(steps_s)) / gradients_s)
            weights.append(sum(steps_s) / gradients_s)
            gradient_s.append(gradients_s / len(times[1]))
    return {
        "overhead": median(overheads),
        "weights": median(weights),
        "gradient_ms": 1e3 * min(gradient_s),
    }


def measure(learners: int, rounds: int) -> dict[str, Any]:
    """All figures."""
    torch.set_num_threads(1)
    small = digits_gradients(learners, 16, 5 * rounds)
    large = digits_gradients(learners, 64, 5 * rounds)
    run = runs(learners, rounds)
    speech = blstm(rounds)
    return {
        "gradients_speedup": small["speedup"],
        "gradients_speedup_batch_64": large["speedup"],
        "gradient_us": small["alone_us"],
        "gradient_together_us": small["together_us"],
        "apart": max(small["apart"], large["apart"]),
        "loss_apart": max(small["loss_apart"], large["loss_apart"]),
        "equal_bits": (small["equal_bits"] + large["equal_bits"]) / 2,
        "first_s": small["first_s"],
        "run_speedup": run["speedup"],
        "run_step_us": run["step_us"],
        "run_apart": run["apart"],
        "run_timing_equal": run["timing_equal"],
        "blstm_gradient_ms": speech["gradient_ms"],
        "blstm_overhead": speech["overhead"],
        "blstm_weights": speech["weights"],
    }


def table(figures: dict[str, Any]) -> Table:
    """The figures, each with its goal and its meaning."""

    def shown(figure: Any) -> str:
        return str(figure) if isinstance(figure, bool) else f"{figure:.3g}"

    return tabled("Numerics of the simulator", figures, KEYS, GOALS, shown)


def main() -> None:
    """Measure and print."""
    parser = options("What computing real gradients costs the simulator, in processor time.", KEYS)
    parser.add_argument("--rounds", type=int, default=3, help="rounds of a figure")
    parser.add_argument("--learners", type=int, default=64, help="learners of the digits")
    words = parser.parse_args()
    tell(measure(words.learners, words.rounds), table, as_json=words.json)


if __name__ == "__main__":
    main()
