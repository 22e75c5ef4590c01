"""Communication graphs between learners, and the mixing plans on them.

A graph says who may exchange weights with whom (`graphs`, `files`); a plan says who does so in
which round, who starts, and with what share (`mixing`); `checks` says what both must satisfy and
how fast a plan mixes. Knows nothing of algorithms, drivers or clusters: an algorithm is handed a
learner's rows of a plan, never a graph. Imports numpy and networkx, and nothing of dualrt but its
errors.
"""

from __future__ import annotations

from dualrt.topology.checks import (
    check_mixing,
    is_bipartite,
    require_bipartite,
    require_graph,
    second_eigenvalue,
    spectral_gap,
)
from dualrt.topology.files import read, write
from dualrt.topology.graphs import build
from dualrt.topology.mixing import (
    PLANS,
    Exchange,
    Mixing,
    Periodic,
    neighbours,
    pairwise,
    plan,
    random_pairs,
    random_ring,
)

__all__ = [
    "PLANS",
    "Exchange",
    "Mixing",
    "Periodic",
    "build",
    "check_mixing",
    "is_bipartite",
    "neighbours",
    "pairwise",
    "plan",
    "random_pairs",
    "random_ring",
    "read",
    "require_bipartite",
    "require_graph",
    "second_eigenvalue",
    "spectral_gap",
    "write",
]
