"""Clusters that collectives are tried on."""

from __future__ import annotations

import math
from dataclasses import replace

from hypothesis import strategies as st

from dualrt.sim.cluster import ClusterSpec

SPEC = ClusterSpec(
    servers=8,
    gpus_per_server=8,
    nic_bytes_per_s=12e9,
    host_memory_bytes_per_s=60e9,
    nvlink_bytes_per_s=20e9,
)
"""64 GPUs."""

SMALL = st.builds(
    replace,
    st.just(SPEC),
    servers=st.integers(1, 6),
    gpus_per_server=st.integers(1, 6),
    sockets_per_server=st.integers(1, 2),
    nvlink_bytes_per_s=st.sampled_from([0.0, 5e9, 20e9]),
    pcie_bytes_per_s=st.sampled_from([3e9, 16e9, 64e9]),
    servers_per_rack=st.integers(1, 3),
    rack_bytes_per_s=st.sampled_from([4e9, 24e9]),
)
"""1 to 36 GPUs, whose bottleneck is now the card, now PCIe, NVLink or a rack."""

CAPPED = st.builds(
    lambda spec, cap: replace(spec, collective_bytes_per_s=cap),
    SMALL,
    st.sampled_from([5e9, math.inf]),
)
"""The same, some of which send no faster than so in a collective."""
