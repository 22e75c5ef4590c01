"""The network against SimGrid's CM02 model, on random two-tier fabrics without latency.

Two implementations of max-min fairness that share no line must agree to rounding; what is left
between them was at most 3e-15 (SimGrid 3.32). SimGrid is asked where it is installed, and what it
said is recorded for where it is not (tests/support/oracle.py).
"""

from __future__ import annotations

import json
import math

import pytest
import simpy

from dualrt.sim.network import Link, Network
from tests.support import oracle
from tests.support.fabrics import FLOWS, Fabric, fabric

RELATIVE = 1e-9


def simulated_ends_s(of: Fabric) -> list[float]:
    """When each flow ends in a `Network`; infinity for one that never does."""
    env = simpy.Environment()
    network = Network(env)
    links = [Link(f"link {index}", rate, 0.0) for index, rate in enumerate(of.links_bytes_per_s)]
    ends_s = [math.inf] * len(of.flows)

    def begin(number: int) -> None:
        def note() -> None:
            ends_s[number] = env.now

        flow = of.flows[number]
        network.transfer([links[index] for index in flow.route], flow.size_bytes, note)

    for number, flow in enumerate(of.flows):
        env.timeout(flow.start_s, number).callbacks.append(lambda event: begin(event.value))
    env.run()
    return ends_s


@pytest.fixture(scope="module")
def ours_s() -> list[list[float]]:
    return [simulated_ends_s(fabric(seed)) for seed in range(oracle.FABRICS)]


def test_flows_end_when_simgrid_says(ours_s: list[list[float]]) -> None:
    reason = oracle.lacking()
    if reason:
        pytest.skip(reason)
    theirs_s = oracle.ends_s([fabric(seed) for seed in range(oracle.FABRICS)])
    for ours, theirs in zip(ours_s, theirs_s, strict=True):
        assert ours == pytest.approx(theirs, rel=RELATIVE, abs=0)


def test_flows_end_when_simgrid_said(ours_s: list[list[float]]) -> None:
    recorded_s = json.loads(oracle.RECORDED.read_text())
    for ours, theirs in zip(ours_s, recorded_s, strict=True):
        assert ours[:: oracle.EVERY] == pytest.approx(theirs, rel=RELATIVE, abs=0)


@pytest.mark.parametrize("seed", range(oracle.FABRICS))
def test_a_fabric_is_contested(seed: int, ours_s: list[list[float]]) -> None:
    """An oracle has little to say where every flow has its links to itself."""
    flows = fabric(seed).flows
    capacities = fabric(seed).links_bytes_per_s
    slowed = sum(
        end_s - flow.start_s > 1.5 * flow.size_bytes / min(capacities[link] for link in flow.route)
        for flow, end_s in zip(flows, ours_s[seed], strict=True)
    )
    assert slowed > FLOWS / 4
