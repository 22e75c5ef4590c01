"""Launcher: real processes on this machine, and their end.

Owns the starting, and starting again, the lines that they print, the errors that they leave behind,
and that nothing outlives the run. Runs in the parent, which never loads torch. Must not know what
the processes do.

Each process finds in `REPORTS` a folder for what it has to report (`dualrt.real.reports`), and in
`STORE` the file by which processes find each other; a file needs no port, and outlives whichever of
them dies.
Everything that a process says on stderr is kept until the end and shown only if it left no error of
its own. In the same folder lies a file that the parent keeps locked: processes do not notice when
their parent is killed, but whoever waits for the lock does.

A process that leaves an error ends the run. One that dies without a word does not: the others
notice, and go on or leave the error that says that they cannot. They cannot notice before they have
met, so a death before that, of one that is not started again, ends the run at once. Whoever is
started again is no part of the run until it has met the others: its errors concern nobody else, and
nobody waits for it when the run is over.
"""

from __future__ import annotations

import fcntl
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import IO

from dualrt.core.errors import PreemptedError, RunError
from dualrt.real import watchdog
from dualrt.real.events import Events
from dualrt.real.reports import REPORTS, OverError, Reports

STORE = "DUALRT_STORE"
"""Environment variable that names the file by which processes find each other; set by this launcher
only."""

INCARNATION = "DUALRT_INCARNATION"
"""The same, of how often the process's learner was started before."""

GRACE_S = 1.0
"""How long processes have to end after they were asked to."""

POLL_S = 0.05
"""How often the processes are looked at."""

LOCK = "parent.lock"
"""The file, among the reports, that the parent keeps locked."""

LOG_LINES = 20
"""How much of a process's stderr is shown when it died without a word."""


@dataclass(frozen=True, slots=True)
class Notice:
    """That processes are to end by themselves, once `given`, each told by a SIGTERM."""

    given: threading.Event
    patience_s: float
    """How long they may take."""


@dataclass(frozen=True, slots=True)
class Returns:
    """Which learners are started again when they die.

    `planned` has for some ranks what follows each death in turn: seconds until it is started again,
    or None for never. Deaths that nobody planned are followed by a start at once, `restarts` times
    a rank.
    """

    restarts: int = 0
    planned: Mapping[int, Sequence[float | None]] = field(default_factory=dict)

    def after_s(self, rank: int, deaths: int) -> float | None:
        """How long after the death of that number, from 1, the learner is started again."""
        planned = self.planned.get(rank, ())
        if deaths <= len(planned):
            return planned[deaths - 1]
        return 0.0 if deaths - len(planned) <= self.restarts else None


def run_local(
    arguments: Sequence[str],
    processes: int,
    on_line: Callable[[str], None],
    returns: Returns = Returns(),
    secrets: Mapping[str, str] = MappingProxyType({}),
    notice: Notice | None = None,
) -> None:
    """Run `python -m dualrt ARGUMENTS` in so many processes; hands what they print to `on_line`.

    The text of each of the `secrets` is in a file that the variable of its name names, and that is
    gone with the run.

    Raises what the first process to fail reported, as UsageError or RunError; PreemptedError after
    a `notice`, unless the run came to its own end first. On any way out, KeyboardInterrupt
    included, no process is left.
    """
    with (
        tempfile.TemporaryDirectory(prefix="dualrt-") as folder,
        Path(folder, LOCK).open("w") as lock,
    ):
        fcntl.flock(lock, fcntl.LOCK_EX)
        told = {name: _kept(Path(folder, name), text) for name, text in secrets.items()}
        crew = _Crew(arguments, processes, Path(folder), returns, told, on_line, notice)
        try:
            crew.run()
        finally:
            crew.end()


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
        watchdog.end_at_once()


@dataclass(slots=True)
class _Member:
    """One process."""

    incarnation: int
    process: subprocess.Popen[str]
    log: Path
    """Its stderr."""
    reader: threading.Thread


class _Crew:
    """All processes of one run."""

    def __init__(
        self,
        arguments: Sequence[str],
        processes: int,
        reports: Path,
        returns: Returns,
        told: Mapping[str, str],
        on_line: Callable[[str], None],
        notice: Notice | None,
    ) -> None:
        self._arguments, self._processes = arguments, processes
        self._folder, self._returns, self._told = reports, returns, told
        self._reports = Reports(reports)
        self._on_line, self._events = on_line, Events(None)
        self._notice = notice
        self._deadline_s: float | None = None
        """Until when processes that were told of the notice may take."""
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._members: dict[int, _Member] = {}
        self._deaths: dict[int, int] = {}
        self._returning_s: dict[int, float] = {}
        """When which rank is started again, by the monotonic clock."""
        self._first_death: str | None = None
        self._ended_well = False

    def run(self) -> None:
        """Start all, and return when all have ended. Raises as `run_local` does."""
        for rank in range(self._processes):
            self._start(rank)
        while self._members or self._returning_s:
            self._pass_lines_on(POLL_S)
            self._heed_notice()
            for rank, member in list(self._members.items()):
                code = member.process.poll()
                if code is not None:
                    self._over(rank, member, code)
            now_s = time.monotonic()
            for rank in [rank for rank, due_s in self._returning_s.items() if due_s <= now_s]:
                del self._returning_s[rank]
                # Where all are dead, they go on from a checkpoint, or begin anew.
                if (self._members or not self._ended_well) and not self._reports.over:
                    self._start(rank)
            if self._ended_well and not any(map(self._takes_part, self._members)):
                for rank in self._members:
                    self._late(rank, str(OverError(rank)))
                break
        self._pass_lines_on(POLL_S)
        if self._deadline_s is not None and not self._ended_well:
            raise self._error() or PreemptedError(None, "all processes had ended before")
        if not self._ended_well:
            raise RunError(self._first_death or "no process was started")

    def _heed_notice(self) -> None:
        """Pass it on once; nobody is started again from then on."""
        notice = self._notice
        if notice is None or not notice.given.is_set():
            return
        now_s = time.monotonic()
        if self._deadline_s is None:
            self._deadline_s = now_s + notice.patience_s
            self._returning_s.clear()
            for member in self._members.values():
                member.process.send_signal(signal.SIGTERM)
        elif now_s > self._deadline_s:
            raise PreemptedError(None, f"not all had ended after {notice.patience_s:g} s")

    def end(self) -> None:
        """Ask, wait, and kill whatever is left."""
        for member in self._members.values():
            if member.process.poll() is None:
                member.process.send_signal(signal.SIGTERM)
        deadline_s = time.monotonic() + GRACE_S
        for member in self._members.values():
            with suppress(subprocess.TimeoutExpired):
                member.process.wait(max(0.0, deadline_s - time.monotonic()))
        for member in self._members.values():
            with suppress(ProcessLookupError, PermissionError):
                # Each leads a session of its own, with whatever it has started.
                os.killpg(member.process.pid, signal.SIGKILL)
            member.process.wait()
            member.reader.join(GRACE_S)

    def _start(self, rank: int) -> None:
        incarnation = self._deaths.get(rank, 0)
        log = self._folder / f"{rank}.{incarnation}.log"
        # Threads of processes that share cores get in each other's way.
        environment = {
            "OMP_NUM_THREADS": "1",
            **os.environ,
            **self._told,
            REPORTS: str(self._folder),
            STORE: str(self._folder / "store"),
            INCARNATION: str(incarnation),
            "RANK": str(rank),
            "WORLD_SIZE": str(self._processes),
            "LOCAL_RANK": str(rank),
            "LOCAL_WORLD_SIZE": str(self._processes),
            "GROUP_WORLD_SIZE": "1",
        }
        try:
            stderr = log.open("w")
        except FileNotFoundError as error:
            raise RunError(
                f"learner {rank} cannot be started: {self._folder} was removed, and with it the "
                "file by which processes find each other. Have whatever cleans there spare "
                "dualrt-*, or set TMPDIR to another folder"
            ) from error
        with stderr:
            process = subprocess.Popen(
                [sys.executable, "-m", "dualrt", *self._arguments],
                stdout=subprocess.PIPE,
                stderr=stderr,
                stdin=subprocess.DEVNULL,
                text=True,
                env=environment,
                # So that Ctrl-C at a terminal comes to us alone, and all end in our order.
                start_new_session=True,
            )
        assert process.stdout is not None
        reader = threading.Thread(
            target=self._read, args=(process.stdout,), name=f"stdout-{rank}", daemon=True
        )
        reader.start()
        self._members[rank] = _Member(incarnation, process, log, reader)
        self._events.info(
            "learner_started",
            f"learner {rank} is process {process.pid}",
            learner=rank,
            pid=process.pid,
            starts=incarnation + 1,
        )

    def _read(self, stdout: IO[str]) -> None:
        with stdout:
            for line in stdout:
                self._lines.put(line)

    def _pass_lines_on(self, timeout_s: float) -> None:
        """What was printed so far, or else whatever comes next within the timeout."""
        with suppress(queue.Empty):
            self._on_line(
                self._lines.get(timeout=timeout_s) if timeout_s else self._lines.get(False)
            )
            while True:
                self._on_line(self._lines.get(False))

    def _takes_part(self, rank: int) -> bool:
        """Whether the run waits for a learner, so that its error ends the run."""
        lives = range(self._members[rank].incarnation + 1)
        return self._reports.has_met(rank, lives[-1]) or not self._has_met(rank, lives[:-1])

    def _has_met(self, rank: int, lives: Iterable[int]) -> bool:
        return any(self._reports.has_met(rank, life) for life in lives)

    def _over(self, rank: int, member: _Member, code: int) -> None:
        """A process has ended: well, with an error, which ends the run, or without a word."""
        takes_part = self._takes_part(rank)
        # Whatever it has started: that may hold its stdout open, too.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(member.process.pid, signal.SIGKILL)
        member.reader.join(GRACE_S)
        leaving = self._deadline_s is not None
        late = self._reports.take_error(rank) if code and not takes_part else None
        error = self._error() if code and not leaving else None
        if error is not None:
            # What led there.
            self._pass_lines_on(0.0)
            raise error
        del self._members[rank]
        if code == 0:
            self._ended_well = True
        if code == 0 or leaving:
            return
        if late is not None:
            self._late(rank, f"learner {rank} was started again and did not get that far: {late}")
            return
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
        said = f"learner {rank} {how}"
        words = _tail(member.log)
        last_words = f"; its last words:\n{words}" if words else ""
        self._first_death = self._first_death or f"{said}{last_words}"
        deaths = self._deaths[rank] = self._deaths.get(rank, 0) + 1
        after_s = self._returns.after_s(rank, deaths)
        if after_s is None and not self._has_met(rank, range(deaths)):
            raise RunError(
                f"{said} before it had met the others, and without it the run cannot begin. "
                f"Remove the cause, and start the run again{last_words}"
            )
        when = f" in {after_s:g} s" if after_s else ""
        self._events.warning(
            "learner_died",
            f"{said}, and is {'not ' if after_s is None else ''}started again{when}",
            learner=rank,
            how=how,
            deaths=deaths,
            starts_again_after_s=after_s,
        )
        if after_s is None:
            return
        self._returning_s[rank] = time.monotonic() + after_s

    def _late(self, rank: int, words: str) -> None:
        self._events.warning("learner_left_out", words, learner=rank)

    def _error(self) -> Exception | None:
        """The first error that a process left, with the death that it may have come from."""
        error = self._reports.error()
        if self._first_death is None or not isinstance(error, RunError):
            return error
        return RunError(f"{self._first_death}, and the run ended:\n{error}")


def _kept(file: Path, text: str) -> str:
    file.touch(0o600)
    file.write_text(text)
    return str(file)


def _tail(log: Path) -> str:
    """The last lines; none if the file was removed."""
    try:
        with log.open(errors="replace") as lines:
            return "".join(deque(lines, maxlen=LOG_LINES))
    except FileNotFoundError:
        return ""
