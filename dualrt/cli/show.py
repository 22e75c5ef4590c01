"""What the command line shows: progress and notes on stderr, results on stdout.

Owns the split: stdout carries results alone, and with `--json` exactly one JSON object.
"""

from __future__ import annotations

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

results = Console()
notes = Console(stderr=True, highlight=False)


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
        disable=not notes.is_terminal,
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
    with Progress(*columns, console=notes, disable=not notes.is_terminal) as bar:
        task = bar.add_task(what, total=None)
        yield lambda how_far: bar.update(task, description=f"{what}: {how_far}")


def warn(message: str) -> None:
    """A line on stderr that does not stop anything."""
    notes.print(f"warning: {message}", style="yellow", markup=False, soft_wrap=True)


def note(message: str) -> None:
    """A line on stderr."""
    notes.print(message, markup=False, soft_wrap=True)


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
