"""What the granularity of an allreduce costs.

    python -m tests.support.granularity

prints a table of docs/collectives.md: the acoustic model among the 16 learners of cluster A, in ms.
"""

from __future__ import annotations

from pathlib import Path
from typing import get_args

from dualrt.scenario import load
from dualrt.sim.clock import Clock
from dualrt.sim.cluster import Cluster, ClusterSpec
from dualrt.sim.collective_costs import Algorithm, allreduce, duration_s
from dualrt.sim.granularity import Granularity, cut
from dualrt.sim.network import Network
from dualrt.sim.patterns import Formation
from dualrt.workloads.phantom import acoustic_tensors

SCENARIO = Path(__file__).parents[2] / "sims" / "swb2000-ssgd-16.toml"
TENSORS_BYTES = tuple(4 * size for size in acoustic_tensors())


def main() -> None:
    """Print the table."""
    scenario = load(SCENARIO)
    cluster = Cluster(ClusterSpec(**scenario.cluster_fields()), Network(Clock()))
    group = Formation(cluster, range(scenario.learners))
    for algorithm in get_args(Algorithm):
        for granularity in get_args(Granularity):
            pieces = cut(TENSORS_BYTES, granularity)
            total_s = sum(duration_s(allreduce(group, piece, algorithm)) for piece in pieces)
            print(f"{1e3 * total_s:7.1f}  {algorithm}, {granularity} ({len(pieces)})")


if __name__ == "__main__":
    main()
