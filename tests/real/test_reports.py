"""What processes leave for their launcher; and a run goes on if somebody removes the folder."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from dualrt.core.errors import RunError, UsageError
from dualrt.real import launcher, reports
from dualrt.real.reports import REPORTS, Reports


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    made = tmp_path / "reports"
    made.mkdir()
    monkeypatch.setenv(REPORTS, str(made))
    return made


def test_the_launcher_reads_what_processes_leave(folder: Path) -> None:
    reports.have_met(1, incarnation=2)
    assert reports.report(UsageError("no such key"), rank=1)
    read = Reports(folder)
    assert read.has_met(1, 2)
    assert not read.has_met(1, 1)
    assert not read.over
    reports.have_ended()
    assert read.over
    error = read.error()
    assert isinstance(error, UsageError)
    assert str(error) == "no such key"


def test_a_process_whose_folder_is_gone_goes_on_and_keeps_its_error(folder: Path) -> None:
    shutil.rmtree(folder)
    reports.have_met(0, incarnation=0)
    reports.have_ended()
    assert not reports.is_over()
    assert not reports.report(RunError("why"), rank=0)
    assert Reports(folder).error() is None
    assert Reports(folder).take_error(0) is None


@pytest.mark.parametrize("code", [0, 3])
def test_a_launcher_whose_folder_is_gone_says_how_its_process_ended(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    start = subprocess.Popen

    def start_and_clean(_: list[str], **settings: Any) -> Any:
        words = [sys.executable, "-c", f"print('here'); raise SystemExit({code})"]
        process = start(words, **settings)
        (folder,) = tmp_path.glob("dualrt-*")
        shutil.rmtree(folder)
        return process

    monkeypatch.setattr(subprocess, "Popen", start_and_clean)
    lines: list[str] = []
    with pytest.raises(RunError, match="learner 0 ended with 3") if code else nullcontext():
        launcher.run_local((), 1, lines.append)
    assert lines == ["here\n"]


def test_one_that_cannot_be_started_again_as_the_folder_is_gone_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    clean = launcher._Crew.run

    def cleaned(crew: launcher._Crew) -> None:
        shutil.rmtree(crew._folder)
        clean(crew)

    monkeypatch.setattr(launcher._Crew, "run", cleaned)
    with pytest.raises(
        RunError, match=r"learner 0 cannot be started: .*dualrt-.* was removed.*TMPDIR"
    ):
        launcher.run_local(("--version",), 1, print)
