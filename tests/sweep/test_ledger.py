"""The file that a sweep keeps its rows in."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dualrt.core.errors import UsageError
from dualrt.sweep.ledger import Ledger
from dualrt.sweep.rows import Figures, Row

KEYS = ["algorithm.name", "seed"]

FIGURES = Figures(
    loss=0.1,
    accuracy=None,
    error=None,
    train_loss=1 / 3,
    seconds_per_iteration=None,
    hours_per_epoch=1e-9,
    elapsed_s=1.0,
    steps=10,
    updates=10,
    staleness_mean=1.5,
    staleness_p99=3,
    staleness_max=4,
    consensus_distance=0.1,
    wait_fraction=0.0,
    bytes_sent=10**12,
    timing_digest="00e1",
    numerics_digest=None,
    wall_s=2.0,
)


def row(seed: str, figures: Figures | None = FIGURES, failed: str = "", of: str = "s") -> Row:
    return Row({"algorithm.name": "ssgd", "seed": seed}, f"{of}{seed}", figures, failed)


def asked(seed: str, of: str = "s") -> Row:
    return row(seed, None, of=of)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "sweep.csv"


def test_a_row_comes_back_equal(file: Path) -> None:
    Ledger(file, KEYS).add(row("1"))
    assert Ledger(file, KEYS).find(asked("1")) == row("1")
    assert Ledger(file, KEYS).find(asked("2")) is None


def test_a_failed_run_is_kept_and_run_again(file: Path) -> None:
    ledger = Ledger(file, KEYS)
    ledger.add(row("1", None, 'learner 1, "train":\n  failed, alas'))
    assert "failed, alas" in file.read_text()
    again = Ledger(file, KEYS)
    assert again.find(asked("1")) is None
    again.add(row("1"))
    assert Ledger(file, KEYS).find(asked("1")) == row("1")
    assert "alas" not in file.read_text()


def test_the_file_is_replaced_as_a_whole(file: Path) -> None:
    ledger = Ledger(file, KEYS)
    ledger.add(row("1"))
    with file.open() as before:
        ledger.add(row("2"))
        assert len(before.read().splitlines()) == 2
    assert len(file.read_text().splitlines()) == 3
    assert list(file.parent.iterdir()) == [file]


def test_a_row_of_another_scenario_is_refused(file: Path) -> None:
    Ledger(file, KEYS).add(row("1"))
    with pytest.raises(UsageError, match="name=ssgd, seed=1 was made of another"):
        Ledger(file, KEYS).find(asked("1", of="other"))


@pytest.mark.parametrize("keys", [["seed"], ["seed", "algorithm.name"], ["learners", "seed"]])
def test_a_sweep_over_other_keys_is_refused(file: Path, keys: list[str]) -> None:
    Ledger(file, KEYS).add(row("1"))
    with pytest.raises(UsageError, match="something else than a sweep over"):
        Ledger(file, keys)


def test_a_file_that_is_no_sweep_is_refused_and_left_alone(file: Path) -> None:
    for content in (b"", b"a,b\n1,2\n", b"\xff\xfe"):
        file.write_bytes(content)
        with pytest.raises(UsageError, match="Name a new file"):
            Ledger(file, KEYS)
        assert file.read_bytes() == content


def test_a_broken_row_is_refused(file: Path) -> None:
    Ledger(file, KEYS).add(replace(row("1"), figures=replace(FIGURES, steps=7)))
    file.write_text(file.read_text().replace(",7,", ",seven,"))
    with pytest.raises(UsageError, match="cannot be read as a sweep"):
        Ledger(file, KEYS)


def test_a_file_needs_a_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Make it first"):
        Ledger(tmp_path / "nowhere" / "sweep.csv", KEYS)
