"""Who is left by its launcher ends, also where that was gone before anybody looked."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from dualrt.real import watchdog
from tests.support import commands


@pytest.mark.parametrize(
    ("parent", "first", "orphan"),
    [
        (1, b"/sbin/init\0splash", True),
        (1, b"/usr/bin/python3.11\0/usr/local/bin/torchrun\0--nproc-per-node", False),
        (4711, b"/sbin/init", False),
    ],
)
def test_whom_the_system_s_first_process_has_is_an_orphan_unless_that_is_python(
    parent: int, first: bytes, orphan: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cmdline").write_bytes(first)
    monkeypatch.setattr(watchdog, "INIT_WORDS", tmp_path / "cmdline")
    assert watchdog.is_orphan(parent) is orphan


def test_where_it_cannot_be_told_nobody_is_an_orphan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watchdog, "INIT_WORDS", tmp_path / "absent")
    assert not watchdog.is_orphan(1)


@pytest.mark.skipif(not watchdog.is_orphan(1), reason="the first process here is Python's")
def test_a_learner_whose_torchrun_was_gone_when_it_began_ends_at_once(tmp_path: Path) -> None:
    """Else it would look for the others for the whole timeout."""
    # The shell becomes the learner when its own parent, which ends at once, is gone.
    script = """
        sh -c '
            while [ "$(ps -o ppid= -p $$ | tr -d " ")" = "$1" ]; do sleep 0.01; done
            echo $$ > pid.part && mv pid.part pid
            exec "$2" -m dualrt train digits-adpsgd --set real.timeout_s=10000
        ' sh $$ "$1" > told 2>&1 &
    """
    environment = {"RANK": "0", "WORLD_SIZE": "4", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
    subprocess.run(
        ["sh", "-c", script, "sh", sys.executable],
        check=True,
        cwd=tmp_path,
        env={**os.environ, **environment, watchdog.TORCHRUN: "none"},
    )
    assert commands.await_((tmp_path / "pid").exists)
    learner = int((tmp_path / "pid").read_text())
    try:
        assert commands.await_(lambda: not Path(f"/proc/{learner}").exists())
        assert (tmp_path / "told").read_text() == ""
    finally:
        with suppress(ProcessLookupError):
            os.kill(learner, signal.SIGKILL)


INSIDE = """
import ctypes, os
from dualrt.real import watchdog
watchdog.GRACE_S = 0.0
mutex = ctypes.create_string_buffer(256)
lock = ctypes.CDLL(None).pthread_mutex_lock
with {contexts}:
    lock(mutex)
    os.write(1, b"!")
    # A second time it waits for ever, and is not woken by signals.
    lock(mutex)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="a mutex of zeros is open on Linux")
@pytest.mark.parametrize(
    ("contexts", "signals"),
    [
        ("watchdog.signals_raise_once()", [signal.SIGTERM]),
        (
            "watchdog.signals_raise_once(), watchdog.first_asks(list)",
            [signal.SIGTERM, signal.SIGINT],
        ),
    ],
    ids=["alone", "where the first SIGTERM asks"],
)
def test_a_signal_ends_a_process_whose_main_thread_is_inside_a_library(
    contexts: str, signals: list[signal.Signals]
) -> None:
    """Python's handlers wait until it is back. A SIGTERM that only asks ends nothing."""
    inside = INSIDE.format(contexts=contexts)
    with subprocess.Popen([sys.executable, "-c", inside], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.read(1) == b"!"
            for number in signals:
                process.send_signal(number)
            assert process.wait(commands.PATIENCE_S) == 128 + signals[-1]
        finally:
            process.kill()


def test_a_program_s_own_wakeup_file_stays_in_use() -> None:
    ear, mouth = os.pipe()
    os.set_blocking(mouth, False)
    before = signal.set_wakeup_fd(mouth)
    try:
        with watchdog.signals_raise_once():
            assert signal.set_wakeup_fd(mouth) == mouth
        assert signal.set_wakeup_fd(mouth) == mouth
    finally:
        signal.set_wakeup_fd(before)
        os.close(ear)
        os.close(mouth)


def test_no_wakeup_file_is_left_behind() -> None:
    with watchdog.signals_raise_once():
        pass
    assert signal.set_wakeup_fd(-1) == -1
