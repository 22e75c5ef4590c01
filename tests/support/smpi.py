"""SMPI as an oracle of the ring allreduce: when it is there, and what it says.

    python -m tests.support.smpi

writes tests/sim/smpi_rings.json anew, so that rings are held against SMPI also where it is not
installed. A trace of one allreduce is replayed (`smpirun -replay`), so no compiler is needed; the
algorithm is SMPI's logical ring (`lr`), the network CM02's plain one, and software costs nothing.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

from dualrt.sim.cluster import ClusterSpec

RECORDED = Path(__file__).parents[1] / "sim" / "smpi_rings.json"

PLAIN = (
    "--cfg=smpi/allreduce:lr",
    "--cfg=smpi/host-speed:1Gf",
    "--cfg=smpi/os:0:0:0",
    "--cfg=smpi/or:0:0:0",
    "--cfg=smpi/ois:0:0:0",
    "--cfg=smpi/bw-factor:0:1",
    "--cfg=smpi/lat-factor:0:1",
    "--cfg=network/TCP-gamma:0",
    "--cfg=network/crosstraffic:0",
    "--log=root.fmt:%.15r%m%n",
)
"""Nothing but bytes over bandwidth and the latency of links; the clock to 15 digits."""

PLATFORM = """<?xml version='1.0'?>
<!DOCTYPE platform SYSTEM "https://simgrid.org/simgrid.dtd">
<platform version="4.1">
<cluster id="c" prefix="host" suffix="" radical="0-{last}" speed="1Gf" bw="{bandwidth}Bps"
 lat="{latency}s" sharing_policy="SPLITDUPLEX"/>
</platform>
"""


class Ring(NamedTuple):
    """A ring allreduce of `size_bytes`, which `ranks` divides, between hosts on one switch.

    A host has a link to the switch and one from it, each of this bandwidth and latency.
    """

    ranks: int
    bandwidth_bytes_per_s: float
    latency_s: float
    size_bytes: int


RINGS = (
    Ring(2, 12.5e9, 1e-6, 1_000_000),
    Ring(3, 1.25e9, 30e-6, 3_000_000),
    Ring(8, 12.5e9, 0.5e-6, 172_619_776),
    Ring(8, 12.5e9, 0.5e-6, 8_000),
    Ring(16, 12.5e9, 0.5e-6, 172_619_776),
    Ring(32, 1.25e9, 5e-6, 32_000_000),
    Ring(64, 12.5e9, 0.5e-6, 172_619_776),
    Ring(64, 12.5e9, 10e-6, 64),
)


def spec(ring: Ring) -> ClusterSpec:
    """The hosts and the switch of a ring, with software that costs nothing."""
    return ClusterSpec(
        servers=ring.ranks,
        gpus_per_server=1,
        nic_bytes_per_s=ring.bandwidth_bytes_per_s,
        nic_latency_s=ring.latency_s,
        host_memory_bytes_per_s=1e12,
        pcie_bytes_per_s=1e12,
        collective_launch_s=0.0,
        collective_network_hop_s=0.0,
    )


def lacking() -> str | None:
    """Why SMPI cannot be asked; None if it can."""
    return None if shutil.which("smpirun") else "there is no smpirun: install libsimgrid-dev"


def end_s(ring: Ring) -> float:
    """When SMPI says that the last rank has ended."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        traces = [folder / f"rank{rank}" for rank in range(ring.ranks)]
        for rank, trace in enumerate(traces):
            lines = ("init", f"allreduce {ring.size_bytes} 0", "finalize")
            trace.write_text("".join(f"{rank} {line}\n" for line in lines))
        (folder / "traces").write_text("".join(f"{trace}\n" for trace in traces))
        (folder / "hosts").write_text("".join(f"host{rank}\n" for rank in range(ring.ranks)))
        (folder / "platform.xml").write_text(
            PLATFORM.format(
                last=ring.ranks - 1,
                bandwidth=ring.bandwidth_bytes_per_s,
                latency=ring.latency_s,
            )
        )
        machine = ("-platform", "platform.xml", "-hostfile", "hosts", "-np", str(ring.ranks))
        told = subprocess.run(
            ["smpirun", *machine, "-replay", "traces", *PLAIN],
            cwd=folder,
            capture_output=True,
            text=True,
            check=True,
        )
    found = re.search(r"^([0-9.]+)Simulation time", told.stdout + told.stderr, re.MULTILINE)
    assert found is not None, told.stderr
    return float(found[1])


def main() -> None:
    """Record."""
    RECORDED.write_text(json.dumps([end_s(ring) for ring in RINGS], indent=1) + "\n")


if __name__ == "__main__":
    main()
