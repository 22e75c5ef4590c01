"""Every error that dualrt raises on purpose.

Owns the exception types and the wording of the two that people meet most: a scenario that cannot
be run, and a strand that failed. Knows nothing of how either is found.

Two families, because they have two readers. A `UsageError` is about what the user wrote or has
installed: the command line prints its message without a traceback and exits with 2. A
`StrandError` is about a run that started and failed: exit code 1, with the story that led there.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from importlib.util import find_spec


class DualrtError(Exception):
    """Root of all errors that dualrt raises on purpose."""


class UsageError(DualrtError):
    """The input or the installation is at fault; nothing was run."""


class ScenarioError(UsageError):
    """A scenario names something that cannot be.

    Parameters: `source` is the file (or other origin), `key` the dotted key at fault, `value` what
    stood there, `problem` what is wrong with it, and `remedy` what to write instead.
    """

    def __init__(self, source: str, key: str, value: object, problem: str, remedy: str) -> None:
        self.source, self.key, self.value = source, key, value
        self.problem, self.remedy = problem, remedy
        where = f"{source}: {key} = {value!r}" if key else source
        super().__init__(f"{where}: {problem}. {remedy}")


class TopologyError(UsageError):
    """A communication graph or mixing matrix cannot serve the algorithm that asks for it."""


class MissingExtraError(UsageError):
    """A command needs packages that are not installed; names the extra that brings them."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        self.package, self.extra = package, extra
        super().__init__(
            f"{purpose} needs the package {package!r}, which is not installed. "
            f"Install it with: pip install 'dualrt[{extra}]'"
        )


def require(*packages: str, extra: str, purpose: str) -> None:
    """Raise MissingExtraError for the first package that is not installed; imports none."""
    for package in packages:
        if find_spec(package) is None:
            raise MissingExtraError(package, extra, purpose)


class RunError(DualrtError):
    """A run that had started could not be finished."""


class PreemptedError(RunError):
    """The run was asked to end, and has.

    `kept` is the folder of its last checkpoint; None if it could not be taken, `why` says why.
    """

    def __init__(self, kept: str | None, why: str = "") -> None:
        self.kept, self.why = kept, why
        told = f"no checkpoint was kept: {why}" if kept is None else f"its checkpoint is {kept}"
        super().__init__(f"the run was asked to end; {told}")


class StrandError(RunError):
    """A learner's strand raised.

    Carries what a person needs to find the cause without a rerun: the learner's `rank`, the
    `strand`'s name, the `step` it was at, and the `story`: the last effects that it awaited, oldest
    first. The original exception is the `__cause__`.
    """

    def __init__(
        self, rank: int, strand: str, step: int, story: Sequence[str], cause: BaseException
    ) -> None:
        self.rank, self.strand, self.step, self.story = rank, strand, step, tuple(story)
        told = "".join(f"\n    {line}" for line in self.story) or "\n    (none)"
        super().__init__(
            f"learner {rank}, strand {strand!r}, step {step}: "
            f"{type(cause).__name__}: {cause}\n  last effects, oldest first:{told}"
        )


class DeadlockError(RunError):
    """Every live strand waits and nothing is under way that could wake one of them."""


class Loss(Enum):
    """How a peer was found to be lost, and so what may have become of what it was sent."""

    KNOWN = "known"
    """Before it was awaited: what it was sent meanwhile has vanished."""
    NOTICED = "noticed"
    """While it was awaited: it may have received, but its answer will not come."""
    SILENT = "silent"
    """It lives, and has not answered in time: its answer may be late."""


class PeerLostError(RunError):
    """What was awaited of learner `peer` will not come, as far as the driver can tell.

    Arises at the await. An algorithm that can go on without the peer catches it; otherwise it ends
    the run, and names the peer.
    """

    def __init__(self, peer: int, why: str, loss: Loss = Loss.NOTICED) -> None:
        self.peer, self.loss = peer, loss
        super().__init__(f"learner {peer} is lost: {why}")


class StalledError(RunError):
    """A wait outlived the one timeout that bounds every wait of a real run."""


class SilentError(StalledError):
    """Learners were greeted, and have not answered in time: `peers`, in order of rank."""

    def __init__(self, peers: Sequence[int], timeout_s: float) -> None:
        self.peers = tuple(peers)
        super().__init__(f"no answer from learners {list(peers)} within {timeout_s:g} s")
