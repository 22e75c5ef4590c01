"""The network against SimGrid's CM02 model, on random two-tier fabrics without latency.

Some are of links alone; for others the simulator is given a cluster's description with racks, and
lays links and routes itself. Two implementations of max-min fairness that share no line must agree
to rounding; what is left between them was at most 3e-15 (SimGrid 3.32). SimGrid is asked where it
is installed, and what it said is recorded for where it is not (tests/support/oracle.py).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

import pytest

from dualrt.sim.clock import Clock
from dualrt.sim.cluster import Cluster
from dualrt.sim.flows import Link
from dualrt.sim.network import Network
from tests.support import oracle
from tests.support.fabrics import FLOWS, Fabric, Flow, description, fabric, racks

RELATIVE = 1e-9

Routes: TypeAlias = Callable[[Flow], Sequence[Link]]


def ends_s_on(of: Fabric, env: Clock, network: Network, routes: Routes) -> list[float]:
    """When each flow ends in a `Network`; infinity for one that never does."""
    ends_s = [math.inf] * len(of.flows)

    def begin(number: int) -> None:
        def note() -> None:
            ends_s[number] = env.now

        network.transfer(routes(of.flows[number]), of.flows[number].size_bytes, note)

    for number, flow in enumerate(of.flows):
        env.timeout(flow.start_s, number).callbacks.append(lambda event: begin(event.value))
    env.run()
    return ends_s


def on_links(of: Fabric) -> list[float]:
    """With the links and routes of the fabric."""
    env = Clock()
    links = [Link(f"link {index}", rate, 0.0) for index, rate in enumerate(of.links_bytes_per_s)]
    network = Network(env)
    return ends_s_on(of, env, network, lambda flow: [links[index] for index in flow.route])


def on_a_cluster(seed: int) -> list[float]:
    """With the links and routes that a `Cluster` makes of the description."""
    env = Clock()
    network = Network(env)
    cluster = Cluster(description(seed), network)
    return ends_s_on(
        racks(seed), env, network, lambda flow: cluster.message_route(flow.source, flow.target)
    )


@pytest.fixture(scope="module")
def ours_s() -> list[list[float]]:
    """In the order of `oracle.asked`."""
    return [
        *(on_links(fabric(seed)) for seed in range(oracle.FABRICS)),
        *map(on_a_cluster, range(oracle.RACKS)),
    ]


def test_flows_end_when_simgrid_says(ours_s: list[list[float]]) -> None:
    reason = oracle.lacking()
    if reason:
        pytest.skip(reason)
    theirs_s = oracle.ends_s(oracle.asked())
    for ours, theirs in zip(ours_s, theirs_s, strict=True):
        assert ours == pytest.approx(theirs, rel=RELATIVE, abs=0)


def test_flows_end_when_simgrid_said(ours_s: list[list[float]]) -> None:
    recorded_s = json.loads(oracle.RECORDED.read_text())
    for ours, theirs in zip(ours_s, recorded_s, strict=True):
        assert ours[:: oracle.EVERY] == pytest.approx(theirs, rel=RELATIVE, abs=0)


@pytest.mark.parametrize("number", range(oracle.FABRICS + oracle.RACKS))
def test_a_fabric_is_contested(number: int, ours_s: list[list[float]]) -> None:
    """An oracle has little to say where every flow has its links to itself."""
    asked = oracle.asked()[number]
    slowed = sum(
        end_s - flow.start_s
        > 1.5 * flow.size_bytes / min(asked.links_bytes_per_s[link] for link in flow.route)
        for flow, end_s in zip(asked.flows, ours_s[number], strict=True)
    )
    assert slowed > FLOWS / 4
