"""What is done with kept runs."""

from __future__ import annotations

import shutil
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


def refused(*words: str | Path) -> str:
    done = commands.here(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    return done.stderr


@pytest.mark.parametrize("window", ["0:inf", "0:nan", "inf:inf"])
def test_a_window_without_end_is_refused(folder: Path, tmp_path: Path, window: str) -> None:
    said = refused("timeline", folder, "--picture", tmp_path / "w.svg", "--window", window)
    assert f"--window {window}: " in said
    assert "is finite. The run took" in said


def test_a_trace_that_cannot_be_written_is_refused_at_once(folder: Path, tmp_path: Path) -> None:
    nowhere = tmp_path / "none" / "p.json"
    assert f"--trace {nowhere}: there is no folder" in refused(
        "timeline", folder, "--trace", nowhere
    )
    assert "is a folder. Name a file" in refused("timeline", folder, "--trace", tmp_path)


def test_a_file_is_no_kept_run(folder: Path, tmp_path: Path) -> None:
    file = folder / "summary.json"
    for words in (("compare", file, folder), ("timeline", file, "--trace", tmp_path / "t.json")):
        said = refused(*words)
        assert f"{file} is no kept run: {file / 'summary.json'} Not a directory" in said


@pytest.mark.parametrize("name", ["summary.json", "tally.json"])
@pytest.mark.parametrize("text", ["{", "{}", "\xff", "[1]"])
def test_what_a_run_did_not_write_is_named(
    folder: Path, tmp_path: Path, name: str, text: str
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(folder, broken)
    (broken / name).write_text(text, encoding="latin-1")
    assert f"{broken / name} is not what a run wrote there: " in refused("compare", broken)


def test_records_that_are_none_are_no_empty_picture(folder: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(folder, broken)
    for records in broken.glob("records-*"):
        records.write_text("garbage")
    said = refused("timeline", broken, "--picture", tmp_path / "w.svg")
    assert "does not begin with a header" in said
    assert not (tmp_path / "w.svg").exists()
