"""Results that go elsewhere than to a terminal: they are whole, and who reads may stop reading."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.support import commands


@pytest.mark.parametrize(
    "words",
    [("--help",), ("scenarios",), ("schema",), ("topology", "check", "ring:4", "--json")],
    ids=["by typer", "by rich", "more than a buffer", "a line that is still in the buffer"],
)
def test_a_pipe_that_nobody_reads_ends_a_command_as_it_ends_any(words: tuple[str, ...]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [*commands.DUALRT, *words],
            stdout=writing,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            cwd=commands.ROOT,
        )
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("words", [("scenarios",), ("scenarios", "--json")])
def test_a_disk_that_is_full_is_an_error_and_no_traceback(words: tuple[str, ...]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*commands.DUALRT, *words], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 1
    assert done.stderr.startswith("dualrt: what is written has no room: [Errno 28]")
    assert "Traceback" not in done.stderr


def test_a_pipe_gets_whole_lines_and_a_terminal_what_fits_it() -> None:
    # Empty is as good as unsaid: whoever runs these tests may have said it.
    wide = commands.run("scenarios", env={"COLUMNS": ""})
    assert max(map(len, wide.stdout.splitlines())) > 100
    narrow = commands.run("scenarios", env={"COLUMNS": "60"})
    assert max(map(len, narrow.stdout.splitlines())) <= 60
    told = json.loads(commands.run("scenarios", "--json").stdout)
    assert narrow.stdout.split()[0] in told["scenarios"]
    assert "desk" in told["clusters"]
