"""Crew: the processes that measure, and their end.

Owns starting them, one for each learner that shares the machine, telling them what to do, and that
none is left. Runs in the parent, which never loads torch. Must not know what is measured.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Self

from dualrt.core.errors import RunError, UsageError

GRACE_S = 2.0
"""How long a process has to end once there are no more orders."""

LOG_LINES = 20

Order = Mapping[str, Any]
"""{"do": a method of `Bench`, and its arguments}."""


class Crew:
    """So many processes. Use as a context: leaving it, by whichever way, ends them all."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._open = ExitStack()
        self._workers: list[subprocess.Popen[str]] = []

    def __enter__(self) -> Self:
        folder = Path(self._open.enter_context(tempfile.TemporaryDirectory(prefix="dualrt-")))
        self._open.callback(self._end)
        self._logs = [folder / f"{rank}.log" for rank in range(self.size)]
        # What `dualrt train --local` gives its processes.
        environment = {"OMP_NUM_THREADS": "1", **os.environ}
        for log in self._logs:
            with log.open("w") as errors:
                worker = subprocess.Popen(
                    [sys.executable, "-m", "dualrt.profile.worker"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    text=True,
                    env=environment,
                    # So that Ctrl-C at a terminal comes to us alone.
                    start_new_session=True,
                )
            self._workers.append(worker)
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def ask(self, order: Order, ranks: Sequence[int] | None = None) -> list[Any]:
        """Have some processes, or all, do the same at once; returns their answers in that order.

        Raises as `ask_each`.
        """
        chosen = range(self.size) if ranks is None else ranks
        return list(self.ask_each(dict.fromkeys(chosen, order)).values())

    def ask_each(self, orders: Mapping[int, Order]) -> dict[int, Any]:
        """Have processes do something each, at once; returns their answers.

        Raises the UsageError or RunError that one answers with, and RunError if one dies.
        """
        for rank, order in orders.items():
            self._tell(rank, order)
        return {rank: self._answer(rank) for rank in orders}

    def _tell(self, rank: int, order: Order) -> None:
        pipe = self._workers[rank].stdin
        assert pipe is not None
        try:
            pipe.write(json.dumps(order) + "\n")
            pipe.flush()
        except BrokenPipeError:
            raise self._death(rank) from None

    def _answer(self, rank: int) -> Any:
        pipe = self._workers[rank].stdout
        assert pipe is not None
        line = pipe.readline()
        if not line:
            raise self._death(rank)
        said = json.loads(line)
        if "error" in said:
            raise UsageError(said["error"]) if said["usage"] else RunError(said["error"])
        return said["answer"]

    def _death(self, rank: int) -> RunError:
        code = self._workers[rank].wait()
        words = "\n".join(self._logs[rank].read_text().splitlines()[-LOG_LINES:])
        return RunError(
            f"measuring process {rank} ended with exit code {code}; its last words:\n{words}"
        )

    def _end(self) -> None:
        for worker in self._workers:
            worker.terminate()
        for worker in self._workers:
            try:
                worker.wait(GRACE_S)
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()
            for pipe in (worker.stdin, worker.stdout):
                # What was not written yet is of no use to anyone.
                with suppress(BrokenPipeError):
                    if pipe is not None:
                        pipe.close()
