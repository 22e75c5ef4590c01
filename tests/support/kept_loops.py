"""Loops of several processes that are kept, and go on.

    python -m tests.support.kept_loops FOLDER NAME...

runs some of them one after the other in this process and prints a JSON object with a key for each.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import torch

import dualrt
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


if __name__ == "__main__":
    print(json.dumps({name: globals()[name](Path(sys.argv[1])) for name in sys.argv[2:]}))
