"""Runs to choose from: every algorithm, on every graph and plan it goes with, on bad machines."""

from __future__ import annotations

from typing import Any

import networkx as nx
from hypothesis import strategies as st

from dualrt.algorithms.hierarchical import HierarchicalADPSGD
from dualrt.algorithms.local_sgd import LocalSGD
from dualrt.topology import PLANS, build
from tests.support.runs import ALGORITHMS, Case

FIXED = ("pairwise", "neighbours")
"""Plans that stay on the graph's edges."""


def graphs(vertices: int) -> st.SearchStrategy[str]:
    """Graphs that there are with so many vertices."""
    names = ["ring", "complete", "star", "path", "exponential"]
    if vertices & (vertices - 1) == 0:
        names.append("hypercube")
    if any(vertices % side == 0 for side in range(2, vertices)):
        names.append("torus")
    return st.sampled_from(names)


def two_sided(vertices: int) -> st.SearchStrategy[str]:
    """Those of them that are bipartite."""
    return graphs(vertices).filter(lambda graph: nx.is_bipartite(build(graph, vertices)))


def mixings(graph: str) -> st.SearchStrategy[str]:
    """Plans that keep to a graph; random ones need one that joins everybody."""
    match graph:
        case "complete":
            return st.sampled_from(sorted(PLANS))
        case "ring":
            return st.sampled_from(["pairwise", "neighbours", "random-ring"])
        case _:
            return st.sampled_from(FIXED)


@st.composite
def machines(draw: st.DrawFn, learners: int) -> dict[str, Any]:
    """From a calm cluster to one where every delay is random and any resource the bottleneck."""
    slow = st.dictionaries(
        st.integers(0, learners - 1), st.sampled_from([0.3, 10.0, 100.0]), max_size=2
    )
    return {
        "nic_bytes_per_s": draw(st.sampled_from([1e10, 1e9, 1e8, 1e7])),
        "latency_s": draw(st.sampled_from([0.0, 1e-6, 1e-2])),
        "gpus_per_server": draw(st.sampled_from([1, 2, 4])),
        "step_cv": draw(st.sampled_from([0.0, 0.3, 1.0, 3.0])),
        "device_sigma": draw(st.sampled_from([0.0, 1.0])),
        "slow": draw(slow),
    }


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Any algorithm on anything that it goes with."""
    learners = draw(st.one_of(st.integers(1, 9), st.just(16)))
    algorithm, settings = draw(st.sampled_from(ALGORITHMS))
    if algorithm is LocalSGD:
        settings = {"period": draw(st.integers(1, 5))}
    if algorithm is HierarchicalADPSGD:
        sizes = [size for size in range(1, learners + 1) if learners % size == 0]
        settings = {**settings, "learners_per_group": draw(st.sampled_from(sizes))}
    layout = algorithm.layout(learners, **settings)
    vertices = len(layout.gossipers)
    suited = two_sided if layout.one_sided else graphs
    graph = draw(suited(vertices)) if vertices else "ring"
    return Case(
        algorithm,
        learners,
        settings,
        graph=graph,
        mixing=draw(st.sampled_from(FIXED) if layout.one_sided else mixings(graph)),
        seed=draw(st.integers(0, 2**16)),
        machine=draw(machines(learners)),
    )
