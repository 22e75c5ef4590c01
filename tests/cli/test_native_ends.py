"""Ends in which a library has a say: native code that a thread is in, and who catches a signal."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from dualrt.cli import runs
from dualrt.core.errors import RunError
from tests.support import commands
from tests.support.processes import ended, started

SLEEPY = Path(__file__).parent / "scenarios" / "sleepy.toml"


def test_a_run_that_fails_ends_with_1_and_not_by_an_abort() -> None:
    grinding = commands.settings("learners=1", "workload.name='plugins:Grinding'")
    with started("dualrt", "train", str(SLEEPY), *grinding, processes=1) as (process,):
        code, _, told = ended(process)
    assert "the other one grinds" in told
    # What the C++ library says where Python ends a thread inside of it.
    assert "terminate called" not in told
    assert code == 1


@pytest.mark.parametrize(
    "made",
    [RunError("a process died"), ValueError("closed"), OSError(5, "input"), SystemExit(1)],
)
def test_a_signal_is_one_whatever_a_library_makes_of_it(
    made: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: bool) -> None:
        try:
            os.kill(os.getpid(), signal.SIGINT)
        except KeyboardInterrupt:
            raise made from None

    monkeypatch.setattr(runs, "list_shipped", interrupted)
    done = commands.here("scenarios")
    assert done.returncode == 130
    assert done.stderr == "dualrt: interrupted\n"
