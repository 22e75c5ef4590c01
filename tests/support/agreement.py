"""How far closed forms, flows in lockstep, messages sent one by one, and SMPI lie apart.

    python -m tests.support.agreement

prints the table of docs/collectives.md. Where a row is not a figure of the formulas' own making,
the tests in tests/sim hold it to its bound.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import get_args

from dualrt.sim.clock import Clock
from dualrt.sim.cluster import Cluster, ClusterSpec
from dualrt.sim.collective_costs import Algorithm, allreduce, duration_s
from dualrt.sim.collectives import Collectives, CollectiveSpec, Form
from dualrt.sim.network import Network
from dualrt.sim.patterns import Formation
from tests.support import rings, smpi

MODEL_BYTES = 172_619_776
BASE = ClusterSpec(
    servers=8,
    gpus_per_server=1,
    nic_bytes_per_s=12.5e9,
    host_memory_bytes_per_s=120e9,
)
BY_MESSAGE: tuple[Algorithm, ...] = ("ring", "hierarchical")
ONE_EACH = {
    "8 servers of 1": BASE,
    "64 servers of 1": replace(BASE, servers=64),
    "1 server of 8, PCIe": replace(BASE, servers=1, gpus_per_server=8),
    "1 server of 8, NVLink": replace(BASE, servers=1, gpus_per_server=8, nvlink_bytes_per_s=50e9),
}
SEVERAL_EACH = {
    "4 servers of 4, PCIe": replace(BASE, servers=4, gpus_per_server=4),
    "8 servers of 8, PCIe": replace(BASE, gpus_per_server=8),
    "8 servers of 8, NVLink": replace(BASE, gpus_per_server=8, nvlink_bytes_per_s=50e9),
    "8 servers of 8 in racks of 4, 4 to 1": replace(
        BASE, gpus_per_server=8, servers_per_rack=4, rack_bytes_per_s=12.5e9
    ),
}


def closed_s(spec: ClusterSpec, algorithm: Algorithm, size_bytes: int) -> float:
    """Seconds of an allreduce among all, by the formulas."""
    cluster = Cluster(spec, Network(Clock()))
    return duration_s(allreduce(Formation(cluster, range(spec.gpus)), size_bytes, algorithm))


def simulated_s(spec: ClusterSpec, algorithm: Algorithm, size_bytes: int, form: Form) -> float:
    """Seconds of an allreduce among all, alone in a simulation."""
    env = Clock()
    network = Network(env)
    how = CollectiveSpec(algorithm=algorithm, form=form)
    collectives = Collectives(Cluster(spec, network), network, how)
    collectives.allreduce(tuple(range(spec.gpus)), size_bytes, lambda: None)
    env.run()
    return float(env.now)


def one_by_one_s(spec: ClusterSpec, algorithm: Algorithm, size_bytes: int) -> float:
    """Seconds of a ring or hierarchical allreduce among all, message by message."""
    servers, members, n = spec.servers, spec.gpus_per_server, spec.gpus
    launch_s, part_bytes = spec.collective_launch_s, size_bytes / n
    if algorithm == "ring":
        return launch_s + rings.ring_s(spec, [range(n)], part_bytes, 2 * (n - 1))
    chains = [range(server * members, (server + 1) * members) for server in range(servers)]
    lanes = list(zip(*chains, strict=True))
    inside_s = rings.ring_s(spec, chains, servers * part_bytes, members - 1)
    between_s = rings.ring_s(spec, lanes, part_bytes, 2 * (servers - 1))
    return 3 * launch_s + 2 * inside_s + between_s


def rows() -> Iterator[tuple[str, str]]:
    """What was compared, and the largest deviation."""
    every = ONE_EACH | SEVERAL_EACH
    sizes = (1_000_000, MODEL_BYTES)
    apart = max(
        abs(simulated_s(spec, how, size, "flow") / closed_s(spec, how, size) - 1)
        for spec, how, size in itertools.product(every.values(), get_args(Algorithm), sizes)
    )
    yield "a flow alone, against its formula: all below, every algorithm", f"{apart:.0e}"
    for name, spec in ONE_EACH.items():
        apart = max(
            abs(one_by_one_s(spec, "ring", size) / closed_s(spec, "ring", size) - 1)
            for size in sizes
        )
        yield f"messages one by one, ring: {name}, 1 MB and the model", f"{apart:.0e}"
    for name, spec in SEVERAL_EACH.items():
        for how, size in itertools.product(BY_MESSAGE, (MODEL_BYTES, 10**10)):
            ratio = one_by_one_s(spec, how, size) / closed_s(spec, how, size)
            yield f"messages one by one, {how}: {name}, {size:.2g} bytes", f"{ratio - 1:+.2%}"
    told = json.loads(smpi.RECORDED.read_text())
    apart = max(
        abs(theirs_s - ours_s(ring)) / (2 * ring.latency_s)
        for ring, theirs_s in zip(smpi.RINGS, told, strict=True)
    )
    yield "SMPI's logical ring, 2 to 64 hosts, in latencies from host to host", f"{apart:.2f}"


def ours_s(ring: smpi.Ring) -> float:
    """The formula for what SMPI was asked."""
    return closed_s(smpi.spec(ring), "ring", ring.size_bytes)


def main() -> None:
    """Print the table."""
    for compared, apart in rows():
        print(f"{apart:>8}  {compared}")


if __name__ == "__main__":
    main()
