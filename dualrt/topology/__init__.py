"""Communication graphs between learners, and the mixing plans on them.

A graph says who may exchange weights with whom (`graphs`, `files`, `functions`; `specs` reads the
texts that name one); `weights` makes shares from a graph; a plan says who exchanges in which round,
who starts, and with what share (`mixing`; `plans` has those that there are), or who pushes to whom
(`pushing`). What is judged is a
`schedules.Schedule`: `checks` says what it must satisfy, `spectrum` how fast it mixes, `structure`
how far apart its learners are and whose loss would split them. Knows nothing of algorithms, drivers
or clusters: an algorithm is handed a learner's rows of a plan, never a graph. Imports numpy, scipy
and networkx, and nothing of dualrt but its errors.
"""

from __future__ import annotations

from dualrt.topology.checks import (
    check_mixing,
    require_bipartite,
    require_graph,
)
from dualrt.topology.files import read, write
from dualrt.topology.mixing import Exchange, Mixing, Periodic
from dualrt.topology.plans import (
    PLANS,
    from_matrix,
    neighbours,
    one_sided,
    pairwise,
    plan,
    random_pairs,
    random_ring,
)
from dualrt.topology.pushing import Pushes
from dualrt.topology.specs import Topology, build, file_of, pushes

__all__ = [
    "PLANS",
    "Exchange",
    "Mixing",
    "Periodic",
    "Pushes",
    "Topology",
    "build",
    "check_mixing",
    "file_of",
    "from_matrix",
    "neighbours",
    "one_sided",
    "pairwise",
    "plan",
    "pushes",
    "random_pairs",
    "random_ring",
    "read",
    "require_bipartite",
    "require_graph",
    "write",
]
