"""Tests that must run beside no other do."""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support import commands
from tests.support.floor import Floor


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "floor"
    file.touch()
    return file


@pytest.fixture
def elsewhere() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as threads:
        yield threads


def somebody_waits(file: Path) -> bool:
    turn = os.open(file.parent, os.O_RDONLY)
    try:
        fcntl.flock(turn, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(turn)
    return False


def waiting(file: Path, told: Future[None]) -> bool:
    return commands.await_(lambda: somebody_waits(file)) and not told.done()


def test_most_run_beside_each_other(file: Path) -> None:
    Floor(file).take(alone=False)
    Floor(file).take(alone=False)


@pytest.mark.parametrize("first_is_alone", [False, True])
def test_one_that_is_alone_waits_for_those_before_it_and_those_after_it_for_it(
    file: Path, elsewhere: ThreadPoolExecutor, first_is_alone: bool
) -> None:
    first, then = Floor(file), Floor(file)
    first.take(alone=first_is_alone)
    asked = elsewhere.submit(then.take, alone=not first_is_alone)
    assert waiting(file, asked)
    first.leave()
    asked.result(commands.PATIENCE_S)


def test_a_process_that_ends_gives_it_back(file: Path) -> None:
    ending = f"from tests.support.floor import *; Floor(Path({str(file)!r})).take(alone=True)"
    done = commands.run("-c", ending, command=[sys.executable])
    assert done.returncode == 0, done.stderr
    Floor(file).take(alone=False)
