"""What `compare` and `timeline` do with the folders that `--out` made."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from dualrt.cli import show
from dualrt.cli.files import check_file, check_picture
from dualrt.core.errors import RunError, UsageError
from dualrt.core.records import Span
from dualrt.observe.plots import comparison_picture
from dualrt.observe.plots import timeline as draw_timeline
from dualrt.observe.recorder import read_records
from dualrt.observe.summary import Summary
from dualrt.observe.tables import comparison_table
from dualrt.observe.tally import Tally
from dualrt.observe.trace import write_trace

T = TypeVar("T")

LEARNERS_SHOWN = 16
"""Learners that a timeline shows: more cannot be read."""

STEPS_SHOWN = 4
"""Iterations that a timeline shows if it is not told from when to when."""


def compare(folders: Sequence[Path], as_json: bool, picture: Path | None) -> None:
    """Runs side by side."""
    check_picture(picture)
    runs = [_run(folder) for folder in folders]
    if picture is not None:
        comparison_picture(picture, runs, title=runs[0][0].title)
        show.note(f"picture: {picture}")
    if as_json:
        print(json.dumps({"runs": [json.loads(summary.to_json()) for summary, _ in runs]}))
    else:
        show.results.print(comparison_table([summary for summary, _ in runs]))


def timeline(folder: Path, picture: Path | None, trace: Path | None, window: str | None) -> None:
    """What every strand did when, as a picture or as a trace."""
    if picture is None and trace is None:
        raise UsageError("Nothing to make. Give --picture FILE, --trace FILE, or both")
    check_picture(picture)
    check_file(trace, "--trace")
    summary, _ = _run(folder)
    if trace is not None:
        try:
            write_trace(trace, read_records(folder))
        except OSError as error:
            raise RunError(
                f"--trace {trace} cannot be written: {error.strerror}. Name a file elsewhere"
            ) from error
        show.note(f"trace: {trace}")
    if picture is not None:
        spans = (record for record in read_records(folder) if isinstance(record, Span))
        learners = range(min(summary.learners, LEARNERS_SHOWN))
        draw_timeline(picture, spans, learners, _window(window, summary))
        show.note(f"picture: {picture}")


def _window(text: str | None, summary: Summary) -> tuple[float, float]:
    if text is None:
        return 0.0, STEPS_SHOWN * (summary.seconds_per_iteration or summary.elapsed_s)
    try:
        start_s, end_s = (float(part) for part in text.split(":"))
    except ValueError:
        raise UsageError(f"--window {text}: give two times in seconds, as in 1.5:2.0") from None
    if not 0 <= start_s < end_s < math.inf:
        raise UsageError(
            f"--window {text}: the second time comes after the first, from 0 on, and is finite. "
            f"The run took {summary.elapsed_s:g} s"
        )
    if start_s >= summary.elapsed_s:
        raise UsageError(
            f"--window {text}: the run was over after {summary.elapsed_s:g} s. Begin before that"
        )
    return start_s, end_s


def _run(folder: Path) -> tuple[Summary, Tally]:
    return (
        _read(folder / "summary.json", Summary.from_json),
        _read(folder / "tally.json", lambda text: Tally.from_builtins(msgspec.json.decode(text))),
    )


def _read(file: Path, parse: Callable[[bytes], T]) -> T:
    try:
        return parse(file.read_bytes())
    except OSError as error:
        problem = "is missing" if isinstance(error, FileNotFoundError) else str(error.strerror)
        raise UsageError(
            f"{file.parent} is no kept run: {file} {problem}. Name a folder that --out made"
        ) from error
    except (msgspec.DecodeError, UsageError) as error:
        raise UsageError(
            f"{file} is not what a run wrote there: {error}. Run it again, or leave it out"
        ) from error
