"""A ring allreduce against SMPI's logical ring, between servers of one learner.

SMPI sends real messages in order, over SimGrid's network; we have a formula and a flow in lockstep.
They differ by less than one latency from host to host: by 0.16 of one at most (SimGrid 3.32). SMPI
is asked where it is installed, and what it said is recorded for where it is not
(tests/support/smpi.py).
"""

from __future__ import annotations

import json

import pytest

from dualrt.sim.clock import Clock
from dualrt.sim.cluster import Cluster
from dualrt.sim.collective_costs import allreduce, duration_s
from dualrt.sim.collectives import Collectives, CollectiveSpec
from dualrt.sim.network import Network
from dualrt.sim.patterns import Formation
from tests.support import smpi
from tests.support.smpi import RINGS, Ring


def closed_s(ring: Ring) -> float:
    cluster = Cluster(smpi.spec(ring), Network(Clock()))
    return duration_s(allreduce(Formation(cluster, range(ring.ranks)), ring.size_bytes, "ring"))


def flow_s(ring: Ring) -> float:
    env = Clock()
    network = Network(env)
    cluster = Cluster(smpi.spec(ring), network)
    collectives = Collectives(cluster, network, CollectiveSpec(algorithm="ring"))
    collectives.allreduce(tuple(range(ring.ranks)), ring.size_bytes, lambda: None)
    env.run()
    return float(env.now)


@pytest.mark.parametrize("ring", RINGS, ids=str)
def test_a_ring_takes_as_long_as_smpi_says(ring: Ring) -> None:
    reason = smpi.lacking()
    if reason:
        pytest.skip(reason)
    theirs_s = smpi.end_s(ring)
    assert abs(closed_s(ring) - theirs_s) < 2 * ring.latency_s
    assert abs(flow_s(ring) - theirs_s) < 2 * ring.latency_s


def test_a_ring_takes_as_long_as_smpi_said() -> None:
    recorded_s = json.loads(smpi.RECORDED.read_text())
    for ring, theirs_s in zip(RINGS, recorded_s, strict=True):
        assert abs(closed_s(ring) - theirs_s) < 2 * ring.latency_s
        assert abs(flow_s(ring) - theirs_s) < 2 * ring.latency_s
