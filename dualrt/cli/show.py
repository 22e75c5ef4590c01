"""What the command line shows: progress and notes on stderr, results on stdout.

Owns the split: stdout carries results alone, and with `--json` exactly one JSON object. What is
said in lines on stderr goes through logging (`dualrt.cli.logs`), which knows in what form.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from dualrt.cli.logs import OURS, for_people

WIDE = 240
"""Columns of results that no terminal shows: a table is not to be cut for a file or a pipe."""


def _width() -> int | None:
    """None: as wide as the terminal, or as COLUMNS says."""
    shown = sys.stdout is None or sys.stdout.isatty()
    return None if shown or os.environ.get("COLUMNS", "").isdigit() else WIDE


results = Console(width=_width())
notes = Console(stderr=True, highlight=False)

_LOGGER = logging.getLogger(OURS)


@contextmanager
def progress(what: str) -> Iterator[Callable[[float], None]]:
    """A bar on stderr, if that is a terminal; the function that it gives is told the share done."""
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=notes,
        disable=_unseen(),
    )
    with bar:
        task = bar.add_task(what, total=1.0)
        shown = 0.0

        def tell(share: float) -> None:
            nonlocal shown
            # An update a step would cost more than the step.
            if share - shown >= 0.002 or share >= 1.0:
                shown = share
                bar.update(task, completed=share)

        yield tell
        tell(1.0)


@contextmanager
def search(what: str) -> Iterator[Callable[[str], None]]:
    """For work of unknown length: the function that it gives is told in words how far it is."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=notes, disable=_unseen()) as bar:
        task = bar.add_task(what, total=None)
        yield lambda how_far: bar.update(task, description=f"{what}: {how_far}")


def warn(message: str) -> None:
    """A line on stderr that does not stop anything."""
    _LOGGER.warning("%s", message)


def note(message: str) -> None:
    """A line on stderr."""
    _LOGGER.info("%s", message)


def fail(message: str, event: str = "failed") -> None:
    """The line on stderr that says why a command ends."""
    _LOGGER.error("%s", message, extra={"event": event})


@contextmanager
def stages() -> Iterator[Callable[[str, int, int], None]]:
    """A bar for each stage; the function that it gives is told (stage, done, of how many)."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    tasks: dict[str, TaskID] = {}
    with Progress(*columns, TimeElapsedColumn(), console=notes) as bar:

        def tell(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage, total=total)
            bar.update(tasks[stage], completed=done, total=total)

        yield tell


def _unseen() -> bool:
    return not (notes.is_terminal and for_people())
