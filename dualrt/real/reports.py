"""Reports: what a process of a local run leaves for its launcher, in files.

Owns the folder's names and both ends of it. Must not know what the processes do, nor what the
launcher makes of it.

Who cleans /tmp may remove the folder of a run that is under way. That costs what would be reported,
and nothing else.

A process that ends by an error leaves it; one that has met the others, and so is a part of the run,
says so; and the first that has seen the run to its end says that too. Files, because they outlive
whoever wrote them, and because a process may die in the middle of anything.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path

from dualrt.core.errors import RunError, UsageError

REPORTS = "DUALRT_REPORTS"
"""Environment variable that names the folder; set by our launcher only."""

_OVER = "over"


class OverError(RunError):
    """A learner that was started again has come back too late: the run is over."""

    def __init__(self, rank: int) -> None:
        super().__init__(f"the run was over before learner {rank} was back")


def report(error: Exception, rank: int) -> bool:
    """Leave an error for the launcher; False if it was not ours that started the process.

    So it is where the folder is gone.
    """
    folder = os.environ.get(REPORTS)
    if folder is None:
        return False
    found = {"usage": isinstance(error, UsageError), "message": str(error)}
    unfinished = Path(folder) / f"error-{rank}.part"
    try:
        unfinished.write_text(json.dumps(found))
        unfinished.rename(unfinished.with_suffix(".json"))
    except FileNotFoundError:
        return False
    return True


def have_met(rank: int, incarnation: int) -> None:
    """Tell the launcher, if it is ours, that this process has met all others."""
    _touch(_met(rank, incarnation))


def have_ended() -> None:
    """Tell the launcher, and who is started again, that all learners that are left have ended."""
    _touch(_OVER)


def is_over() -> bool:
    """Whether anybody said so; False under another launcher."""
    folder = os.environ.get(REPORTS)
    return folder is not None and Reports(Path(folder)).over


class Reports:
    """The folder, as the launcher reads it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def has_met(self, rank: int, incarnation: int) -> bool:
        """Whether this incarnation of a learner became a part of the run."""
        return (self._folder / _met(rank, incarnation)).exists()

    @property
    def over(self) -> bool:
        """Whether the learners that are left have ended."""
        return (self._folder / _OVER).exists()

    def error(self) -> Exception | None:
        """The first error that a process left, as UsageError or RunError."""
        errors = sorted(self._folder.glob("error-*.json"), key=lambda file: file.stat().st_mtime_ns)
        return _read(errors[0]) if errors else None

    def take_error(self, rank: int) -> Exception | None:
        """The error that a learner left, which is forgotten."""
        file = self._folder / f"error-{rank}.json"
        if not file.exists():
            return None
        error = _read(file)
        file.unlink()
        return error


def _read(file: Path) -> Exception:
    found = json.loads(file.read_text())
    return (UsageError if found["usage"] else RunError)(found["message"])


def _met(rank: int, incarnation: int) -> str:
    return f"met-{rank}.{incarnation}"


def _touch(name: str) -> None:
    folder = os.environ.get(REPORTS)
    if folder is not None:
        with suppress(FileNotFoundError):
            Path(folder, name).touch()
