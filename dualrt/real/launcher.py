"""Launcher: real processes on this machine, through torch's own launcher, and their end.

Owns the starting, the lines that rank 0 prints, the errors that processes leave behind, and that
nothing outlives the run. Runs in the parent, which never loads torch. Must not know what the
processes do.

Each process finds in `REPORTS` a folder for the error that ends it. Everything else that a process
says on stderr is kept until the end and shown only if it left no error of its own. In the same
folder lies a file that the parent keeps locked: torch's launcher does not notice when the parent is
killed, but whoever waits for the lock does.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from dualrt.core.errors import RunError, UsageError

REPORTS = "DUALRT_REPORTS"
"""Environment variable that names the folder for errors; set by this launcher only."""

DEATH = re.compile(r"failed \(exitcode: (?P<code>-?\d+)\) local_rank: (?P<rank>\d+)")
"""How torch's launcher says which process was the first to die."""

GRACE_S = 1.0
"""How long processes have to end after they were asked to."""

LOCK = "parent.lock"
"""The file, among the reports, that the parent keeps locked."""

LOG_LINES = 20
"""How much of a process's stderr is shown when it died without a word."""


def run_local(arguments: Sequence[str], processes: int, on_line: Callable[[str], None]) -> None:
    """Run `python -m dualrt ARGUMENTS` in so many processes; hands rank 0's lines to `on_line`.

    Raises what the first process to fail reported, as UsageError or RunError. On any way out,
    KeyboardInterrupt included, no process is left.
    """
    with (
        tempfile.TemporaryDirectory(prefix="dualrt-") as folder,
        Path(folder, LOCK).open("w") as lock,
    ):
        fcntl.flock(lock, fcntl.LOCK_EX)
        reports = Path(folder)
        launcher = _start(arguments, processes, reports)
        try:
            assert launcher.stdout is not None
            for line in launcher.stdout:
                on_line(line)
            code = launcher.wait()
        finally:
            _end(launcher)
        if code != 0:
            raise _failure(reports)


def end_with_parent() -> None:
    """End this process at once when the parent of `run_local` is gone; nothing elsewhere."""
    folder = os.environ.get(REPORTS)
    if folder is not None:
        threading.Thread(target=_outlive, args=(folder,), name="parent", daemon=True).start()


def _outlive(folder: str) -> None:
    try:
        with Path(folder, LOCK).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH)
    finally:
        # Who made the folder cannot remove it any more.
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(1)


def report(error: Exception, rank: int) -> bool:
    """Leave an error for the launcher; False if it was not this one that started the process."""
    folder = os.environ.get(REPORTS)
    if folder is None:
        return False
    found = {"usage": isinstance(error, UsageError), "message": str(error)}
    unfinished = Path(folder) / f"error-{rank}.part"
    unfinished.write_text(json.dumps(found))
    unfinished.rename(unfinished.with_suffix(".json"))
    return True


def _start(arguments: Sequence[str], processes: int, reports: Path) -> subprocess.Popen[str]:
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        f"--nproc-per-node={processes}",
        "--max-restarts=0",
        f"--log-dir={reports / 'logs'}",
        "--redirects=2",
        "-m",
        "dualrt",
        *arguments,
    ]
    # Set, so that the launcher does not warn that it sets it.
    environment = {"OMP_NUM_THREADS": "1", **os.environ, REPORTS: str(reports)}
    with (reports / "launcher.log").open("w") as log:
        return subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=log,
            stdin=subprocess.DEVNULL,
            text=True,
            env=environment,
            # So that Ctrl-C at a terminal comes to us alone, and the processes end in our order.
            start_new_session=True,
        )


def _end(launcher: subprocess.Popen[str]) -> None:
    """Ask, wait, and kill: the launcher, and then whatever it had started."""
    if launcher.poll() is None:
        learners = _children(launcher.pid)
        launcher.send_signal(signal.SIGTERM)
        try:
            launcher.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            launcher.kill()
            launcher.wait()
        for learner in learners:
            with suppress(ProcessLookupError, PermissionError):
                # Each leads a session of its own.
                os.killpg(learner, signal.SIGKILL)
    if launcher.stdout is not None:
        launcher.stdout.close()


def _children(parent: int) -> list[int]:
    """What a process has started, on Linux; elsewhere processes notice by themselves."""
    lists = Path(f"/proc/{parent}/task").glob("*/children")
    return [int(child) for children in lists for child in children.read_text().split()]


def _failure(reports: Path) -> Exception:
    """The first error that a process left, or else what is known of the first that died."""
    errors = sorted(reports.glob("error-*.json"), key=lambda path: path.stat().st_mtime_ns)
    if errors:
        found = json.loads(errors[0].read_text())
        return UsageError(found["message"]) if found["usage"] else RunError(found["message"])
    own_log = reports / "launcher.log"
    death = DEATH.search(own_log.read_text())
    if death is None:
        return RunError(f"the launcher failed; its last words:\n{_tail(own_log)}")
    code, rank = int(death["code"]), int(death["rank"])
    said = "".join(_tail(log) for log in reports.glob(f"logs/**/{rank}/stderr.log"))
    last_words = f"; its last words:\n{said}" if said else ""
    if code < 0:
        name = signal.Signals(-code).name
        return RunError(f"learner {rank} was killed by {name}, and the run ended{last_words}")
    return RunError(f"learner {rank} ended with exit code {code}{last_words}")


def _tail(log: Path) -> str:
    with log.open() as lines:
        return "".join(deque(lines, maxlen=LOG_LINES))
