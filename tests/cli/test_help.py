"""What the command says of itself."""

from __future__ import annotations

import pytest
import typer.main

from dualrt.cli.app import app
from tests.support import commands

COMMANDS = sorted(typer.main.get_command(app).commands)  # type: ignore[attr-defined]  # it is a group


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_no_object_of_python(command: str) -> None:
    done = commands.here(command, "--help")
    assert done.returncode == 0
    assert "<class" not in done.stdout
