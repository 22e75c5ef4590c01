from __future__ import annotations

from dualrt import __version__
from tests.support import commands


def test_the_version_is_told() -> None:
    done = commands.run("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"dualrt {__version__}\n", "")
