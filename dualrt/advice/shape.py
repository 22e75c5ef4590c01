"""Shape: what there is to say of the edges of all rounds together.

Owns connectedness, degrees, distances and cuts of a schedule, those of edges that go one way
included. Must not know of shares, clusters, or what is good.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dualrt.topology import structure
from dualrt.topology.structure import Bound

if TYPE_CHECKING:
    from dualrt.topology.schedules import Schedule
    from dualrt.topology.weights import Sparse


@dataclass(frozen=True, slots=True)
class Shape:
    """What there is to say; `degrees` are the least, the most, and the mean."""

    connected: bool
    bipartite: bool
    degrees: tuple[int, int, float]
    diameter: Bound | None = None
    cut: Bound | None = None
    single_points: tuple[int, ...] = ()
    cut_off: tuple[int, ...] = ()
    """Those that learner 0 has no way to, or none back from."""


def shape_of(schedule: Schedule, messages: Sparse) -> Shape:
    """Of edges both ways; `messages` [n, n] are those of a round, as `loads.traffic` counts them.

    Of a random schedule that is the complete graph: any two learners meet in time.
    """
    learners = schedule.learners
    if schedule.period is None:
        return _anyone(learners)
    joined = _joined(messages)
    degrees = _degrees(joined)
    if not structure.is_connected(joined):
        return _parted(joined, joined)
    bipartite = structure.sides(joined) is not None
    if learners == 1:
        return Shape(True, True, degrees, Bound(0, True), Bound(0, True))
    across = structure.diameter(joined)
    return Shape(
        True,
        bipartite,
        degrees,
        across,
        structure.least_cut(joined, across.value),
        tuple(structure.single_points(joined)),
    )


def shape_of_ways(messages: Sparse) -> Shape:
    """Of edges that go one way; degrees count those with whom a learner shares one, either way."""
    joined = _joined(messages)
    degrees = _degrees(joined)
    learners = messages.shape[0]
    if not structure.is_strongly_connected(messages):
        return _parted(messages, joined)
    bipartite = structure.sides(joined) is not None
    if learners == 1:
        return Shape(True, True, degrees, Bound(0, True), Bound(0, True))
    return Shape(
        True,
        bipartite,
        degrees,
        structure.diameter_of_ways(messages),
        structure.least_cut_of_ways(messages),
        tuple(structure.single_points_of_ways(messages)),
    )


def outline(schedule: Schedule, messages: Sparse) -> Shape:
    """The same without distances and cuts, of a schedule that is known to be connected."""
    if schedule.period is None:
        return _anyone(schedule.learners)
    joined = _joined(messages)
    return Shape(True, structure.sides(joined) is not None, _degrees(joined))


def _anyone(learners: int) -> Shape:
    """The complete graph."""
    others = learners - 1
    across = Bound(min(1, others), True)
    return Shape(True, learners <= 2, (others, others, others), across, Bound(others, True))


def _degrees(joined: Sparse) -> tuple[int, int, float]:
    degree = np.diff(joined.indptr)
    return int(degree.min()), int(degree.max()), float(degree.mean())


def _joined(messages: Sparse) -> Sparse:
    """The adjacency of all rounds together, both ways; an edge without a share is none."""
    from scipy.sparse import csr_matrix

    joined = csr_matrix((messages + messages.T) > 0, dtype=np.float64)
    joined.sort_indices()
    return joined


def _parted(ways: Sparse, joined: Sparse) -> Shape:
    """Of learners not all of whom reach one another along `ways`; `joined` is both ways."""
    import networkx as nx

    bipartite = bool(nx.is_bipartite(nx.from_scipy_sparse_array(joined)))
    cut_off = tuple(structure.cut_off(ways))
    return Shape(False, bipartite, _degrees(joined), cut_off=cut_off)
