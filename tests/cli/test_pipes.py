"""Whoever reads the results may stop reading: that is no error, and nothing is said about it."""

from __future__ import annotations

import os
import subprocess

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
