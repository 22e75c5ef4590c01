"""What is lost when a peer's weights are averaged with one's *current* weights.

    python benchmarks/averaging.py [--json]

Runs AD-PSGD on the quadratic in the simulator, once with the delta blend, w += t (theirs - mine),
and once with the average that earlier systems take, w += t (theirs - w), where w is what the
weights have become by the time the answer is there. Prints for both how much of the sum over
learners no gradient explains (docs/decisions/0002-delta-blend.md); the delta blend's is rounding.

The message overhead is varied, because it decides how much lands during an exchange.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from rich.table import Table
from torch import Tensor

from dualrt import api
from dualrt.scenario import load
from dualrt.workloads.quadratic import Quadratic
from dualrt.workloads.torch_weights import TorchWeights

# A script finds its neighbours by their own names, the type checker by the folder's too.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.figures import options, tell

KEYS = {"unexplained": "a list, by overhead_s: what is unexplained with delta and with current"}
"""What `--json` prints."""

OVERHEADS_S = (1e-5, 1e-4, 3e-4, 1e-3)


class CurrentAverage(TorchWeights):
    """Averages with what the weights are when the answer arrives, and forgets what was sent."""

    def _add(self, share: float, theirs: Tensor, mine: Tensor) -> None:
        super()._add(share, theirs, self._copy())


class WithCurrentAverage(Quadratic):
    """The quadratic, with weights that average the usual way."""

    def weights(self, rank: int) -> TorchWeights:
        """As the quadratic's own, but for averaging."""
        start = super().weights(rank)
        learners = len(start.versions)
        return CurrentAverage(rank, learners, start.snapshot().vector, audit=True)


def run(workload: str, overhead_s: float) -> Any:
    """The summary of one run."""
    overrides = [
        "learners=16",
        "algorithm.name=adpsgd",
        "topology.mixing=neighbours",
        "training.audit=true",
        f"workload.name={workload}",
        f"cluster.message_overhead_s={overhead_s!r}",
        "cluster.device.profiles.gradient=[[8, 1e-3]]",
        "cluster.device.step_cv=0.5",
    ]
    return api.simulate(load("quadratic-sd-psgd", overrides)).summary


def main() -> None:
    """Print one row an overhead."""
    words = options("What averaging leaves unexplained by gradients.", KEYS).parse_args()
    # By name, so that the scenario finds the class in this file.
    sys.modules["averaging"] = sys.modules[__name__]
    rows = []
    for overhead_s in OVERHEADS_S:
        ours = run("quadratic", overhead_s).conservation_error
        usual = run("averaging:WithCurrentAverage", overhead_s).conservation_error
        rows.append({"overhead_s": overhead_s, "delta": ours, "current": usual})
    tell({"unexplained": rows}, table, as_json=words.json)


def table(figures: Any) -> Table:
    """A row an overhead."""
    made = Table(
        "message overhead",
        "delta blend",
        "average with current weights",
        title="Unexplained by gradients: largest entry of the sum over learners",
    )
    for row in figures["unexplained"]:
        overhead_ms = 1e3 * row["overhead_s"]
        made.add_row(f"{overhead_ms:.2f} ms", f"{row['delta']:.1e}", f"{row['current']:.1e}")
    return made


if __name__ == "__main__":
    main()
