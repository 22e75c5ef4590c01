"""The real command: in processes of its own, as a shell would run it, or here.

A process of its own shows what only one can: signals, exit, what is left, which launcher. Where
only the answer counts, a test takes it from `here`, which spares the seconds that a start takes.
"""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Any
from unittest import mock

from dualrt.cli import main

ROOT = Path(__file__).resolve().parents[2]

DUALRT = [sys.executable, "-m", "dualrt"]

PATIENCE_S = 60.0
"""For what takes a second or two on a machine that is not busy."""


TORCHRUN = [
    sys.executable,
    *["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"],
    *["-m", "dualrt"],
]
"""Two processes, as torch starts them."""


def start(
    *words: str | Path, env: Mapping[str, str] | None = None, command: list[str] = DUALRT
) -> subprocess.Popen[str]:
    """Start it, with its output piped."""
    return subprocess.Popen(
        [*command, *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", **(env or {})},
    )


def run(
    *words: str | Path, env: Mapping[str, str] | None = None, command: list[str] = DUALRT
) -> subprocess.CompletedProcess[str]:
    """Run it to its end."""
    process = start(*words, env=env, command=command)
    out, err = process.communicate(timeout=PATIENCE_S)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def interrupted(
    *words: str | Path,
    once: Callable[[subprocess.Popen[str]], bool],
    env: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Start it, and interrupt it as soon as that holds; it leaves no process."""
    with start(*words, env=env) as process:
        try:
            assert await_(lambda: once(process))
            family = descendants(process.pid)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=PATIENCE_S)
        finally:
            process.kill()
    assert await_(lambda: not alive(family))
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def has_processes(least: int) -> Callable[[subprocess.Popen[str]], bool]:
    """Whether one has started so many, itself included."""
    return lambda process: len(descendants(process.pid)) >= least


def here(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """The same command line, answered by this process."""
    command = ["dualrt", *map(str, words)]
    out, err = io.StringIO(), io.StringIO()
    try:
        with (
            mock.patch.object(sys, "argv", command),
            redirect_stdout(out),
            redirect_stderr(err),
        ):
            main()
    except SystemExit as end:
        code = end.code
    else:
        code = 0
    assert code is None or isinstance(code, int)
    return subprocess.CompletedProcess(command, code or 0, out.getvalue(), err.getvalue())


def result(
    *words: str | Path, env: Mapping[str, str] | None = None, command: list[str] = DUALRT
) -> dict[str, Any]:
    """The one JSON object that a run prints."""
    return _object(run(*words, "--json", env=env, command=command))


def result_here(*words: str | Path) -> dict[str, Any]:
    """The same, of a run in this process."""
    return _object(here(*words, "--json"))


def _object(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    return only_object(done.stdout)


def only_object(printed: str) -> dict[str, Any]:
    """The one JSON object that a run has printed, and nothing else."""
    lines = printed.splitlines()
    assert len(lines) == 1, printed
    found: dict[str, Any] = json.loads(lines[0])
    return found


def settings(*pairs: str) -> list[str]:
    """`--set` before each."""
    return [word for pair in pairs for word in ("--set", pair)]


Process = tuple[int, int]
"""Number of a process, and when it started: numbers are used again."""


def descendants(root: int) -> set[Process]:
    """All processes that come from `root`, itself included."""
    table = _processes()
    found = {root}
    while True:
        more = {pid for pid, (parent, _) in table.items() if parent in found} - found
        if not more:
            return {(pid, table[pid][1]) for pid in found if pid in table}
        found |= more


def learner(parent: int, rank: int) -> int:
    """The process of a learner that `parent` has just started, as soon as it is there."""
    found: list[int] = []

    def there() -> bool:
        for pid, _ in descendants(parent):
            with suppress(OSError):
                if f"RANK={rank}" in Path("/proc", str(pid), "environ").read_text().split("\0"):
                    found.append(pid)
        return bool(found)

    assert await_(there)
    return found[0]


def alive(processes: set[Process]) -> set[Process]:
    """Those that still run."""
    table = _processes()
    return {(pid, began) for pid, began in processes if table.get(pid, (0, -1))[1] == began}


Port = tuple[str, str]
"""Where a process listens, in /proc's words, and the number of the socket."""


def ports() -> set[Port]:
    """Where any process of this host listens for TCP connections."""
    tables = [Path("/proc/net/tcp"), Path("/proc/net/tcp6")]
    lines = [line for table in tables if table.exists() for line in table.read_text().splitlines()]
    return {(words[1], words[9]) for words in map(str.split, lines) if words[3] == "0A"}


def listening(processes: set[Process]) -> set[Port]:
    """Where these processes do."""
    theirs = _opened(processes)
    return {(where, number) for where, number in ports() if f"socket:[{number}]" in theirs}


def shared_files() -> set[str]:
    """Names in /dev/shm that no process has open or mapped: left there by one that is gone."""
    everyone = {(pid, began) for pid, (_, began) in _processes().items()}
    files = {str(path) for path in Path("/dev/shm").iterdir() if path.is_file()}
    return files - _opened(everyone)


def _opened(processes: set[Process]) -> set[str]:
    """Files and sockets that processes have open or mapped."""
    found: set[str] = set()
    for pid, _ in processes:
        folder = Path("/proc", str(pid))
        # It may end meanwhile, or be somebody else's.
        with suppress(OSError):
            found |= {str(link.readlink()) for link in (folder / "fd").iterdir()}
            maps = (folder / "maps").read_text().splitlines()
            found |= {line.split(maxsplit=5)[5] for line in maps if "/" in line}
    return found


def await_(condition: Callable[[], bool]) -> bool:
    """Whether it comes true within the time that one is prepared to wait."""
    end_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < end_s:
        if condition():
            return True
        time.sleep(0.05)
    return False


def _processes() -> dict[int, tuple[int, int]]:
    """Parent and start of every process that is no zombie, from /proc."""
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                # The name, in brackets, may hold anything.
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if fields[0] != "Z":
                found[int(folder.name)] = (int(fields[1]), int(fields[19]))
    return found
