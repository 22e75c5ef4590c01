"""Keeping: what `dualrt train --checkpoint` asks for, in the runtime's own terms.

Owns what must be the same of a run that goes on from a checkpoint, the checks that come before
processes start, and the choice of the checkpoint that all of them go on from.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dualrt.core.errors import RunError, UsageError
from dualrt.core.learner import Layout, Learner
from dualrt.scenario import Scenario

if TYPE_CHECKING:
    from dualrt.real.checkpoint import Checkpoints
    from dualrt.real.session import Session
    from dualrt.real.truce import Keeping

MAY_DIFFER = ("epochs", "audit")
"""Keys of [training] that may be others when a run goes on."""


class Preemption:
    """The word that a run is to end with a checkpoint; may come before anybody can heed it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked = False
        self._heed: Callable[[], None] | None = None

    def ask(self) -> None:
        """The run is to end. From any thread, but not from a signal handler."""
        with self._lock:
            self._asked, heed = True, self._heed
        if heed is not None:
            heed()

    def heeded_by(self, heed: Callable[[], None]) -> None:
        """Call `heed` when the word comes, or now if it has come."""
        with self._lock:
            self._heed, asked = heed, self._asked
        if asked:
            heed()


@dataclass(frozen=True, slots=True)
class Wish:
    """Checkpoints as the command line, or a program, asks for them."""

    folder: Path
    resume: bool = False
    """Whether the run goes on from the newest in the folder that can be used."""
    preemption: Preemption = field(default_factory=Preemption)


def check(scenario: Scenario, layout: Layout, wish: Wish) -> None:
    """Raise UsageError for checkpoints that cannot be taken, or gone on from."""
    if layout.pause is None:
        raise scenario.error(
            "algorithm.name",
            "it does not say how its learners pause, so that their states can be kept",
            "Have its layout name a `pause`, and await `between_steps` (docs/checkpoints.md), or "
            "use no --checkpoint.",
        )
    found = _of(scenario, wish, 0).numbers()
    if wish.folder.exists() and not wish.folder.is_dir():
        raise UsageError(f"--checkpoint {wish.folder} is no folder. Name one, or a new one")
    if found and not wish.resume:
        raise UsageError(
            f"--checkpoint {wish.folder} holds checkpoints already. Go on from them with --resume, "
            "or name a new folder"
        )
    if wish.resume and not found:
        raise UsageError(
            f"--checkpoint {wish.folder} holds no checkpoint to --resume from. Leave --resume out "
            "to begin, or name the folder of an earlier run"
        )


def begin(
    scenario: Scenario, session: Session, learner: Learner, wish: Wish
) -> tuple[Keeping, bool]:
    """What is to be kept, and whether the learner has to ask others for its weights.

    Restores the learner first, if that is wished; then all processes call this. Raises UsageError
    where no checkpoint can be used.
    """
    from dualrt.real.truce import Keeping

    checkpoints = _of(scenario, wish, learner.rank)
    # What cannot be kept is found now.
    learner.state()
    again = learner.seat.incarnation > 0
    number, absent = 0, False
    if again:
        number = max(checkpoints.numbers(), default=0)
    elif wish.resume:
        number, absent = _restored(session, learner, checkpoints, wish.folder)
    real = scenario.real
    steps, seconds_s = real.checkpoint_interval()
    kept = real.checkpoints_kept
    return Keeping(checkpoints, steps, seconds_s, kept, number), absent


def _restored(
    session: Session,
    learner: Learner,
    checkpoints: Checkpoints,
    folder: Path,
) -> tuple[int, bool]:
    """The number of the newest that every process can use, and whether it is without this one."""
    from dualrt.real.events import Events

    refused, events = [], Events(learner.rank)
    # The folder may look different elsewhere, by a moment.
    numbers: Sequence[int] = json.loads(
        session.exchange("checkpoints", json.dumps(checkpoints.numbers()))[0]
    )
    for number in numbers:
        problem, absent = _try(learner, checkpoints, number)
        said = session.exchange(f"checkpoint {number}", problem)
        problem = next((one for one in said if one), "")
        path = str(checkpoints.path(number))
        if not problem:
            events.info("resumed", f"learner {learner.rank} goes on from {path}", path=path)
            return number, absent
        refused.append(f"{path}: {problem}")
        if learner.rank == 0 and number != numbers[-1]:
            told = f"checkpoint {refused[-1]}; the one before it is tried"
            events.warning("checkpoint_refused", told, path=path, why=problem)
    listed = "".join(f"\n  {one}" for one in refused)
    raise UsageError(f"no checkpoint in {folder} can be used:{listed}")


def _try(learner: Learner, checkpoints: Checkpoints, number: int) -> tuple[str, bool]:
    """Restore; what is wrong, if anything is, and whether this learner is to rejoin the others."""
    try:
        state = checkpoints.load(number)
        if state is not None:
            learner.restore(state)
            return "", False
    except RunError as error:
        return str(error), False
    if not learner.seat.layout.takes_back:
        return f"it is without learner {learner.rank}, and the algorithm takes nobody back", False
    return "", True


def _of(scenario: Scenario, wish: Wish, rank: int) -> Checkpoints:
    from dualrt.real.checkpoint import Checkpoints

    return Checkpoints(wish.folder, rank, _run(scenario))


def _run(scenario: Scenario) -> dict[str, Any]:
    """What must be the same of a run that goes on."""
    told = scenario.effective()
    kept = {key: told[key] for key in ("seed", "learners", "algorithm", "workload", "topology")}
    training = {key: one for key, one in told["training"].items() if key not in MAY_DIFFER}
    return {**kept, "training": training}
