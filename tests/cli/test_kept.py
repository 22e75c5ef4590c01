"""What is done with kept runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import commands


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("kept") / "run"
    short = commands.settings("simulation.epochs=0.0005")
    assert commands.here("simulate", "swb2000-ssgd-16", *short, "--out", made).returncode == 0
    return made


def test_a_window_after_the_end_of_the_run_is_refused(folder: Path, tmp_path: Path) -> None:
    words: list[str | Path] = ["timeline", folder, "--picture", tmp_path / "when.png", "--window"]
    late = commands.here(*words, "1000:2000")
    assert late.returncode == 2
    assert "--window 1000:2000: the run was over after" in late.stderr
    assert commands.here(*words, "0:2000").returncode == 0
