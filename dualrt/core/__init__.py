"""The language that learners are written in. Imports the standard library only.

These names are all that an algorithm or a workload of one's own is written with; each module says
more. docs/tutorials/your-own-algorithm.md writes one of each.
"""

from __future__ import annotations

from dualrt.core.effects import (
    AllReduce,
    Body,
    Broadcast,
    Compute,
    Cost,
    Delivery,
    Effect,
    Group,
    Now,
    Packet,
    Place,
    Recv,
    Report,
    Send,
    Sleep,
    Together,
    Vector,
)
from dualrt.core.errors import DualrtError, PeerLostError, RunError, UsageError
from dualrt.core.keeping import Pause, State
from dualrt.core.learner import Layout, Learner, Mixing, Seat, Shares, Strand
from dualrt.core.progress import Constant, Progress, Schedule, WarmupAnneal
from dualrt.core.records import Observer, Span, Update
from dualrt.core.seeds import derive, stream
from dualrt.core.versions import Staleness, VersionVector
from dualrt.core.weights import Gradient, Snapshot, Weights
from dualrt.core.workload import GradientOf, JointWorkload, Workload

__all__ = [
    "AllReduce",
    "Body",
    "Broadcast",
    "Compute",
    "Constant",
    "Cost",
    "Delivery",
    "DualrtError",
    "Effect",
    "Gradient",
    "GradientOf",
    "Group",
    "JointWorkload",
    "Layout",
    "Learner",
    "Mixing",
    "Now",
    "Observer",
    "Packet",
    "Pause",
    "PeerLostError",
    "Place",
    "Progress",
    "Recv",
    "Report",
    "RunError",
    "Schedule",
    "Seat",
    "Send",
    "Shares",
    "Sleep",
    "Snapshot",
    "Span",
    "Staleness",
    "State",
    "Strand",
    "Together",
    "Update",
    "UsageError",
    "Vector",
    "VersionVector",
    "WarmupAnneal",
    "Weights",
    "Workload",
    "derive",
    "stream",
]
