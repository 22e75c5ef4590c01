"""`dualrt calibrate`: tables, JSON, the file that it writes, and its end."""

from __future__ import annotations

import subprocess
import tomllib
from pathlib import Path

import pytest

from tests.support import commands
from tests.support.calibrations import BANDWIDTH, LAUNCH, table


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return table(tmp_path, {"one": (0.02, ()), "other": (0.03, ("seed=2",))}, BANDWIDTH)


def test_what_is_kept_is_what_is_printed(file: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept.toml"
    printed = commands.result_here("calibrate", file, "--out", kept)
    assert tomllib.loads(kept.read_text()) == printed
    assert (printed["points_fitted"], printed["parameters_fitted"]) == (2, 1)
    assert printed["points"]["one"]["measured"] == 0.02
    assert set(printed["parameters"]["bandwidth"]["determined_by"]) == {"one", "other"}


def test_people_get_parameters_residuals_and_degrees_of_freedom(file: Path) -> None:
    done = commands.here("calibrate", file)
    assert (done.returncode, done.stderr) == (0, "")
    assert "cluster.nic_bytes_per_s" in done.stdout
    assert "2 points less 1 parameters: 1 degrees of freedom" in done.stdout


def test_a_check_fits_nothing(file: Path) -> None:
    errors = file.with_name("errors.png")
    checked = commands.result_here("calibrate", file, "--check", "--picture", errors)
    assert errors.read_bytes().startswith(b"\x89PNG")
    assert checked["parameters"] == {}
    assert "degrees_of_freedom" not in checked
    assert abs(checked["points"]["one"]["error"]) > 0.1


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--out", "no-such-folder/kept.toml"], "there is no folder no-such-folder"),
        (["--out", "docs"], "--out docs is a folder"),
        (["--check", "--out", "kept.toml"], "--check fits nothing to keep"),
        (["--picture", "errors.txt"], "its name must end in .png"),
    ],
)
def test_a_file_that_cannot_be_written_is_refused_at_once(
    file: Path, words: list[str], complaint: str
) -> None:
    done = commands.here("calibrate", file, *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert complaint in done.stderr


def test_the_table_is_not_written_over(file: Path) -> None:
    done = commands.here("calibrate", file, "--out", file)
    assert done.returncode == 2
    assert "is the table itself" in done.stderr


def test_a_mistake_in_the_table_is_named_without_a_traceback(tmp_path: Path) -> None:
    file = table(tmp_path, {"one": (-1.0, ())}, LAUNCH)
    done = commands.here("calibrate", file)
    assert done.returncode == 2
    assert "points.0.measured = -1.0" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_interrupted_fit_ends_with_130(file: Path, tmp_path: Path) -> None:
    text = file.read_text().replace('"seed=2"', '"seed=2", "training.epochs=100000"')
    file.write_text(text.replace("'seed=2'", "'seed=2', 'training.epochs=100000'"))
    kept = tmp_path / "kept.toml"

    def fitting(process: subprocess.Popen[str]) -> bool:
        # Loaded by the fit alone, when it begins.
        return "scipy/optimize" in Path(f"/proc/{process.pid}/maps").read_text()

    done = commands.interrupted("calibrate", file, "--out", kept, once=fitting)
    assert (done.returncode, done.stdout) == (130, "")
    assert "Traceback" not in done.stderr
    assert not kept.exists()
