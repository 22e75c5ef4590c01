"""Keeping: what `dualrt train --checkpoint` asks for, in the runtime's own terms.

Owns what must be the same of a run that goes on from a checkpoint, the checks that come before
processes start, and the choice of the checkpoint that all of them go on from.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dualrt.core.errors import RunError, UsageError
from dualrt.core.learner import Layout, Learner
from dualrt.scenario import Scenario
from dualrt.writable import refusal

if TYPE_CHECKING:
    from dualrt.real.attempts import Keeping
    from dualrt.real.checkpoint import Checkpoints
    from dualrt.real.session import Session

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
    where: str = "--checkpoint"
    """What names the folder, for messages."""
    how: str = "--resume"
    """What says that a run goes on."""


def check(scenario: Scenario, layout: Layout, wish: Wish) -> None:
    """Raise UsageError for checkpoints that cannot be taken, or gone on from."""
    check_pause(scenario, layout, wish)
    check_folder(scenario, wish)


def check_pause(scenario: Scenario, layout: Layout, wish: Wish) -> None:
    """Raise UsageError for an algorithm whose learners come to no common instant."""
    if layout.pause is None:
        raise scenario.error(
            "algorithm.name",
            "it does not say how its learners pause, so that their states can be kept",
            "Have its layout name a `pause`, and await `between_steps` (docs/checkpoints.md), or "
            f"use no {wish.where}.",
        )


def check_folder(scenario: Scenario, wish: Wish) -> None:
    """Raise UsageError for a folder that cannot be one, or has what it should not, or nothing."""
    found = checkpoints_of(scenario, wish, 0).numbers()
    told = f"{wish.where} {wish.folder}"
    there = next(path for path in (wish.folder, *wish.folder.absolute().parents) if path.exists())
    if not there.is_dir():
        what = "" if there == wish.folder else f", as {there} is none"
        raise UsageError(f"{told} is no folder{what}. Name one, or a new one")
    why = refusal(there)
    if why is not None:
        raise UsageError(f"{told}: {there} cannot be written to ({why}). Name a folder elsewhere")
    if found and not wish.resume:
        raise UsageError(
            f"{told} holds checkpoints already. Go on from them with {wish.how}, or name a new "
            "folder"
        )
    if wish.resume and not found:
        raise UsageError(
            f"{told} holds no checkpoint to {wish.how} from. Leave {wish.how} out to begin, or "
            "name the folder of an earlier run"
        )


def begin(
    scenario: Scenario, session: Session, learner: Learner, wish: Wish
) -> tuple[Keeping, bool]:
    """What is to be kept, and whether the learner has to ask others for its weights.

    Restores the learner first, if that is wished; then all processes call this. Raises UsageError
    where no checkpoint can be used.
    """
    from dualrt.real.attempts import Keeping

    checkpoints = checkpoints_of(scenario, wish, learner.rank)
    # What cannot be kept is found now.
    learner.state()
    again = learner.seat.incarnation > 0
    number, absent = 0, False
    if again:
        number = max(checkpoints.numbers(), default=0)
    elif wish.resume:
        number, absent = newest(
            checkpoints, wish, learner.rank, partial(_try, learner, checkpoints), session.exchange
        )
    real = scenario.real
    steps, seconds_s = real.checkpoint_interval()
    kept = real.checkpoints_kept
    return Keeping(checkpoints, steps, seconds_s, kept, number), absent


def newest(
    checkpoints: Checkpoints,
    wish: Wish,
    rank: int,
    restore: Callable[[int], tuple[str, bool]],
    exchange: Callable[[str, str], Sequence[str]],
) -> tuple[int, bool]:
    """The number of the newest that every process can use, and whether it is without this one.

    `restore` goes back to one, and returns what is wrong with it, if anything is, and whether it is
    without this process; `exchange` tells what all processes say. Raises UsageError if there is
    none that can be used.
    """
    from dualrt.real.events import Events

    refused, events = [], Events(rank)
    # The folder may look different elsewhere, by a moment.
    numbers: Sequence[int] = json.loads(
        exchange("checkpoints", json.dumps(checkpoints.numbers()))[0]
    )
    for number in numbers:
        problem, absent = restore(number)
        said = exchange(f"checkpoint {number}", problem)
        problem = next((one for one in said if one), "")
        path = str(checkpoints.path(number))
        if not problem:
            events.info("resumed", f"learner {rank} goes on from {path}", path=path)
            return number, absent
        refused.append(f"{path}: {problem}")
        if rank == 0 and number != numbers[-1]:
            told = f"checkpoint {refused[-1]}; the one before it is tried"
            events.warning("checkpoint_refused", told, path=path, why=problem)
    listed = "".join(f"\n  {one}" for one in refused)
    raise UsageError(f"no checkpoint in {wish.folder} can be used:{listed}")


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


def checkpoints_of(scenario: Scenario, wish: Wish, rank: int) -> Checkpoints:
    """Those in the folder, as process `rank` sees them."""
    from dualrt.real.checkpoint import Checkpoints

    return Checkpoints(wish.folder, rank, _run(scenario))


def _run(scenario: Scenario) -> dict[str, Any]:
    """What must be the same of a run that goes on."""
    told = scenario.effective()
    kept = {key: told[key] for key in ("seed", "learners", "algorithm", "workload", "topology")}
    training = {key: one for key, one in told["training"].items() if key not in MAY_DIFFER}
    return {**kept, "training": training}
