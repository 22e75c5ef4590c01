"""Report: the figures of one topology on a cluster, and what is asked of it.

Owns the names of the figures, which are the keys of `dualrt topology check --json`. Must not know
how they are found, judged or shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from dualrt.advice.loads import Load

Protocol = Literal["delta", "lock"]

ROUNDS = 10_000
"""Most rounds to consensus that pass by default: a few epochs' worth of steps on 64 learners."""


@dataclass(frozen=True, slots=True)
class Demand:
    """What a topology must satisfy."""

    protocol: Protocol = "delta"
    rounds: int = ROUNDS


@dataclass(frozen=True, slots=True)
class Report:
    """The figures of one topology; its fields are the keys of its JSON, None is null.

    Figures of the graph are those of all rounds together: of a random schedule, of the complete
    graph, because any two learners meet in time.
    """

    spec: str
    mixing: str
    learners: int
    connected: bool
    """Jointly over a period."""
    cut_off: tuple[int, ...]
    """If not, the learners that learner 0 has no way to, or none back from."""
    bipartite: bool
    protocols: Mapping[str, str]
    """What being bipartite means for each way to exchange."""
    pushes: bool
    """Whether weights are pushed along edges of one way: then columns of shares sum to 1, and
    push-sum weights make good that rows may not."""
    doubly_stochastic: bool
    second_eigenvalue: float | None
    """What a round leaves of a disagreement, in the long run; None if the shares of learners that
    exchange move their mean."""
    spectral_gap: float | None
    consensus_rounds: int | None
    """To a thousandth; None if never."""
    diameter: int | None
    """None if not connected."""
    diameter_exact: bool
    """If not, `diameter` is a lower bound."""
    degree_min: int
    degree_max: int
    degree_mean: float
    messages_per_step: float
    """That a learner sends in a step, on average over learners and rounds."""
    messages_per_step_max: float
    """Of the learner that sends most."""
    bytes_per_step: float
    bytes_per_step_max: float
    model_bytes: int
    single_points: tuple[int, ...]
    """Learners whose loss would split the graph."""
    min_cut: int | None
    """Edges whose loss would split it, at least."""
    min_cut_exact: bool
    """If not, `min_cut` is an upper bound."""
    cluster: str
    cluster_assumed: bool
    cluster_fitted: tuple[str, ...]
    """What of the cluster is no description, but was fitted to measurements."""
    bottleneck: Load | None
    """The link that a step keeps busy longest; None if nothing is sent."""
    links: tuple[Load, ...]
    gradient_s: float
    step_time_s: float
    """Of AD-PSGD, or of SGP where weights are pushed: from the trial, else the longer of the
    gradient and the bottleneck."""
    staleness_mean: float | None
    """From the trial; None where none was run."""
    simulated: bool
    """Whether a trial was run: of many learners it is not."""
    problems: tuple[str, ...]
    passed: bool
    verdict: str
    better: Mapping[str, Any] | None = None
    """The nearest better topology: its spec and main figures."""
    soonest: Mapping[str, Any] | None = None
    """The better one whose learners agree soonest, if it is another and that is clearly sooner."""

    def to_json(self) -> dict[str, Any]:
        """All of it as plain values."""
        return asdict(self)
