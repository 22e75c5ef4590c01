"""What `replay` does: from options to a verdict on the screen."""

from __future__ import annotations

import os
import sys
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from dualrt import api
from dualrt.cli import show
from dualrt.cli.files import check_file
from dualrt.core.errors import RunError, UsageError, require
from dualrt.real import watchdog


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The options."""

    folder: Path
    until: str | None
    model: Path | None
    json: bool

    def stop(self) -> api.Stop | None:
        """Where to end. Raises UsageError for what is no place."""
        if self.until is None:
            return None
        learner, _, step = self.until.rpartition(":")
        try:
            stop = api.Stop(int(step), int(learner) if learner else None)
        except ValueError:
            stop = api.Stop(0)
        if stop.step < 1 or (stop.learner or 0) < 0:
            raise UsageError(
                f"--until {self.until}: give a step from 1 on, or a learner and its step, as in "
                "2:150"
            )
        return stop


def replay(request: Request) -> None:
    """Replay, and say whether it came to the same.

    Raises RunError, after the result was printed, where it did not.
    """
    require("torch", extra="train", purpose="dualrt replay")
    until = request.stop()
    check_file(request.model)
    replays = _replayed(request, until)
    if request.json:
        print(replays.to_json())
    else:
        show.results.print(_table(replays))
        for line in _said(replays, until):
            show.results.print(line, highlight=False, markup=False)
    if request.model is not None:
        show.note(f"model: {request.model}")
    if replays.same is False:
        raise RunError("the weights are not those of the run")


def _replayed(request: Request, until: api.Stop | None) -> api.Replays:
    with watchdog.signals_raise_once():
        try:
            with redirect_stdout(sys.stderr), show.progress(f"replaying {request.folder}") as tell:
                return api.replay(
                    request.folder, until=until, model=request.model, on_progress=tell
                )
        except KeyboardInterrupt as asked:
            show.fail(watchdog.words(asked), "stopped")
            # Not through the interpreter's own end, which threads in native code may abort.
            os._exit(watchdog.exit_code(asked))


def _table(replays: api.Replays) -> Table:
    table = Table("learner", "steps", "updates", "turns", "last loss", "weights")
    for column in table.columns[:5]:
        column.justify = "right"
    for one in replays.learners:
        kept = "" if one.turns == one.turns_kept else f" of {one.turns_kept}"
        loss = "" if one.loss is None else f"{one.loss:.4g}"
        same = {True: "the same", False: "others", None: "-"}[one.same]
        figures = (one.rank, one.steps, one.updates, f"{one.turns}{kept}", loss, same)
        table.add_row(*map(str, figures))
    return table


def _said(replays: api.Replays, until: api.Stop | None) -> list[str]:
    said = []
    if until is not None and not replays.stopped:
        said.append("Nobody has applied so many updates: this is the end of the run.")
    if replays.same:
        said.append("The same weights as in the run, to the bit.")
    elif replays.largest_difference is not None:
        said.append(
            f"No weight of the model differs by more than {replays.largest_difference:.3g}."
        )
    if replays.not_finite is not None:
        learner, step = replays.not_finite
        said.append(f"The first loss that is not finite: learner {learner}, its update {step}.")
    lost = sorted({one.lost for one in replays.learners if one.lost is not None})
    if lost:
        said.append(f"Learners {lost} were lost: what came after that is in no order.")
    elif not replays.whole and until is None:
        said.append("The run did not end well: this is as far as its order is known.")
    return said
