"""Loops of several processes that are kept, and go on.

    python -m tests.support.kept_loops FOLDER NAME...

runs some of them one after the other in this process and prints a JSON object with a key for each.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import torch

import dualrt
from dualrt.core.errors import PreemptedError
from dualrt.loop.group import Group
from tests.support.loops import RANK, adam, batches, flat, loss_of, network, said_by


def in_lock_step(steps: int, **settings: Any) -> tuple[list[float], int]:
    model = network()
    optimizer = adam(model)
    with dualrt.join(model, optimizer, algorithm="ssgd", **settings) as group:
        began_at = group.steps
        for batch in islice(batches(RANK), began_at, steps):
            optimizer.zero_grad()
            loss_of(model, batch).backward()
            optimizer.step()
            group.step()
    return flat(model), began_at


def kept_in_lock_step(folder: Path) -> Any:
    """ssgd: sixteen steps; and twelve, some of which were kept, and the rest from there."""
    kept: Any = {
        "checkpoint": folder / "lock-step",
        "checkpoint_every": "6 steps",
        "checkpoints_kept": 1,
    }
    whole, _ = in_lock_step(16)
    in_lock_step(12, **kept)
    resumed, began_at = in_lock_step(16, **kept, resume=True)
    return {"whole": whole, "resumed": resumed, "began_at": began_at}


def apart(goes_on: Callable[[Group], bool], **settings: Any) -> dict[str, Any]:
    model = network()
    optimizer = adam(model)
    with dualrt.join(model, optimizer, algorithm="adpsgd", audit=True, **settings) as group:
        began_at, updates = group.steps, group.updates
        for batch in islice(batches(RANK), began_at, None):
            if not goes_on(group):
                break
            optimizer.zero_grad()
            loss_of(model, batch).backward()
            optimizer.step()
            group.step()
    return {
        "model": flat(model),
        "began_at": began_at,
        "updates_at_the_start": updates,
        "steps": group.steps,
        "moments": [int(state["step"]) for state in optimizer.state.values()],
        "conservation_error": group.summary and group.summary.conservation_error,
    }


def kept_apart(folder: Path) -> Any:
    """adpsgd: left once a checkpoint is there, and gone on with for some steps."""
    kept: Any = {"checkpoint": folder / "apart", "checkpoint_every": "3 steps"}
    apart(lambda _: not list((folder / "apart").glob("*/manifest.json")), **kept)
    steps: list[int] = []

    def eight_more(group: Group) -> bool:
        steps.append(group.steps)
        return len(steps) <= 8

    return apart(eight_more, **kept, resume=True)


def kept_of_another_model(folder: Path) -> Any:
    """Refused by both, though only rank 1 has another optimizer."""
    model = network()
    optimizer = adam(model) if RANK == 0 else torch.optim.SGD(model.parameters(), lr=0.1)

    def join() -> None:
        with dualrt.join(
            model, optimizer, algorithm="ssgd", checkpoint=folder / "lock-step", resume=True
        ):
            pass

    return said_by(join)


def refused_by_one(folder: Path) -> Any:
    """By rank 0 alone, for its folder, and by rank 1, for its model."""
    model = network()
    kept: Any = {"checkpoint": folder / "lock-step"}
    by_the_first = said_by(lambda: in_lock_step(1, **kept))
    model.requires_grad_(RANK == 0)

    def join() -> None:
        with dualrt.join(model, torch.optim.SGD(model.parameters(), lr=0.1)):
            pass

    return [by_the_first, said_by(join)]


def told_to_end(folder: Path) -> Any:
    """Rank 1 is, in the midst of a step of both, and both go on from there for three steps."""
    return {algorithm: told_and_resumed(folder / algorithm, algorithm) for algorithm in PAUSING}


PAUSING = "adpsgd", "ssgd"
"""One for each way in which learners come to a common instant."""


def told_and_resumed(folder: Path, algorithm: str) -> Any:
    model = network()
    optimizer = adam(model)
    kept: Any = {"algorithm": algorithm, "checkpoint": folder, "checkpoint_every": "1 h"}

    def train(steps: int, told_at: int, **settings: Any) -> tuple[int, int, str]:
        began_at, said = 0, ""
        try:
            with dualrt.join(model, optimizer, **kept, **settings) as group:
                began_at = group.steps
                for batch in islice(batches(RANK), began_at, began_at + steps):
                    optimizer.zero_grad()
                    loss_of(model, batch).backward()
                    if group.steps == told_at and RANK == 1:
                        signal.raise_signal(signal.SIGTERM)
                    optimizer.step()
                    group.step()
        except PreemptedError as error:
            said = str(error)
        return began_at, group.steps, said

    _, steps, said = train(10**9, told_at=4)
    began_at, ended_at, _ = train(3, told_at=-1, resume=True)
    return {"said": said, "steps": steps, "began_at": began_at, "ended_at": ended_at}


def until_told(folder: Path) -> None:
    """A script that knows nothing of signals."""
    model = network()
    optimizer = adam(model)
    with dualrt.join(model, optimizer, checkpoint=folder) as group:
        for batch in batches(RANK):
            optimizer.zero_grad()
            loss_of(model, batch).backward()
            optimizer.step()
            group.step()
            if group.steps == 1:
                print("going", flush=True)


if __name__ == "__main__":
    print(json.dumps({name: globals()[name](Path(sys.argv[1])) for name in sys.argv[2:]}))
