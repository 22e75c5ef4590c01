"""The file that a sweep keeps its rows in."""

from __future__ import annotations

import errno
import fcntl
import os
from dataclasses import replace
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from dualrt.core.errors import MissingExtraError, RunError, UsageError
from dualrt.sweep.ledger import Ledger
from dualrt.sweep.rows import Figures, Row
from dualrt.sweep.tables import Csv
from tests.sweep import examples

KEYS = ["algorithm.name", "seed"]

# What is hard to write and read again: no figure, a third, very small and very large ones.
FIGURES = replace(
    examples.FIGURES,
    loss=0.1,
    train_loss=1 / 3,
    seconds_per_iteration=None,
    hours_per_epoch=1e-9,
    bytes_sent=10**12,
    timing_digest="00e1",
)


def row(seed: str, figures: Figures | None = FIGURES, failed: str = "", of: str = "s") -> Row:
    return Row({"algorithm.name": "ssgd", "seed": seed}, f"{of}{seed}", figures, failed)


def asked(seed: str, of: str = "s") -> Row:
    return row(seed, None, of=of)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "sweep.csv"


@pytest.fixture(params=[".csv", ".parquet"])
def either(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / f"sweep{request.param}"


@pytest.mark.parametrize("seed", ["1", "0.5", "1.0", "1e3", "auto", "true", "[1, 2]", "'1'"])
def test_a_row_comes_back_equal(either: Path, seed: str) -> None:
    Ledger(either, KEYS).add(row("7"))
    Ledger(either, KEYS).add(row(seed))
    assert Ledger(either, KEYS).find(asked(seed)) == row(seed)
    assert Ledger(either, KEYS).find(asked("7")) == row("7")
    assert Ledger(either, KEYS).find(asked("2")) is None


def test_parquet_has_numbers_where_there_are_numbers(tmp_path: Path) -> None:
    file = tmp_path / "sweep.parquet"
    for text in ("1", "10"):
        Ledger(file, KEYS).add(row(text))
    table = parquet.read_table(file)
    assert table.column("seed").to_pylist() == [1, 10]
    assert table.column("algorithm.name").to_pylist() == ["ssgd", "ssgd"]
    assert table.column("accuracy").to_pylist() == [None, None]
    assert table.schema.field("accuracy").type == pyarrow.float64()
    assert table.schema.field("timing_digest").type == pyarrow.string()


def test_a_failed_run_is_kept_and_run_again(either: Path) -> None:
    ledger = Ledger(either, KEYS)
    ledger.add(row("1", None, 'learner 1, "train":\n  failed, alas'))
    assert b"failed, alas" in either.read_bytes()
    again = Ledger(either, KEYS)
    assert again.find(asked("1")) is None
    again.add(row("1"))
    assert Ledger(either, KEYS).find(asked("1")) == row("1")
    assert b"alas" not in either.read_bytes()


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


def test_a_file_that_is_no_sweep_is_refused_and_left_alone(either: Path) -> None:
    for content in (b"", b"a,b\n1,2\n", b"\xff\xfe"):
        either.write_bytes(content)
        with pytest.raises(UsageError, match="Name a new file"):
            Ledger(either, KEYS)
        assert either.read_bytes() == content


def test_a_broken_row_is_refused(file: Path) -> None:
    Ledger(file, KEYS).add(replace(row("1"), figures=replace(FIGURES, steps=7)))
    file.write_text(file.read_text().replace(",7,", ",seven,"))
    with pytest.raises(UsageError, match="cannot be read as a sweep"):
        Ledger(file, KEYS)


def test_a_file_of_another_form_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"must end in \.csv or \.parquet"):
        Ledger(tmp_path / "sweep.xlsx", KEYS)


def test_parquet_without_pyarrow_says_which_extra_brings_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dualrt.sweep.tables.find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"dualrt\[parquet\]"):
        Ledger(tmp_path / "sweep.parquet", KEYS)


def test_a_file_needs_a_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Make it first"):
        Ledger(tmp_path / "nowhere" / "sweep.csv", KEYS)


def beside(file: Path, what: str) -> Path:
    return file.with_name(f"{file.name}.{what}")


def test_one_sweep_at_a_time_has_a_file(file: Path) -> None:
    with Ledger.alone(file, KEYS) as first:
        first.add(row("1"))
        with pytest.raises(UsageError, match=f"--out {file}: another sweep is at work on it"):
            Ledger.alone(file, KEYS).__enter__()
        first.add(row("2"))
    assert [one.name for one in file.parent.iterdir()] == [file.name]
    with Ledger.alone(file, KEYS) as second:
        assert second.find(asked("2")) == row("2")


def test_a_lock_that_a_killed_sweep_has_left_holds_up_nobody(file: Path) -> None:
    beside(file, "lock").touch()
    with Ledger.alone(file, KEYS) as ledger:
        ledger.add(row("1"))
    assert not beside(file, "lock").exists()


def test_a_lock_that_its_holder_takes_away_meanwhile_is_none(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked: list[int] = []

    def late(lock: int, how: int) -> None:
        if not locked:
            beside(file, "lock").unlink()
        locked.append(os.fstat(lock).st_nlink)

    monkeypatch.setattr(fcntl, "flock", late)
    with Ledger.alone(file, KEYS):
        assert locked == [0, 1]


def test_where_there_are_no_locks_a_warning_says_so(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(lock: int, how: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    said: list[str] = []
    with Ledger.alone(file, KEYS, said.append) as ledger:
        ledger.add(row("1"))
    assert len(said) == 1
    assert f"--out {file}: its file system has no locks" in said[0]


def test_a_row_that_cannot_be_kept_leaves_the_others(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = Ledger(file, KEYS)
    ledger.add(row("1"))

    def full(self: Csv, to: Path, *_: object) -> None:
        to.touch()
        raise OSError(errno.ENOSPC, "No space left on device", str(to))

    monkeypatch.setattr(Csv, "write", full)
    with pytest.raises(RunError, match=f"--out {file}: a row cannot be kept: .*No space left"):
        ledger.add(row("2"))
    assert [one.name for one in file.parent.iterdir()] == [file.name]
    assert Ledger(file, KEYS).find(asked("1")) == row("1")


def test_parquet_keeps_integers_that_no_column_holds_as_text(tmp_path: Path) -> None:
    file = tmp_path / "sweep.parquet"
    for text in (str(2**63), "1"):
        Ledger(file, KEYS).add(row(text))
    assert parquet.read_table(file)["seed"].to_pylist() == [str(2**63), "1"]
