"""The word that learners of one host tell each other: all have it, or nobody."""

from __future__ import annotations

import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from dualrt.real import word
from dualrt.real.word import Word

LEARNERS = 3


def all_of(*, deaf: int = -1) -> list[Word | None]:
    """What each learner has in the end; one, if it is said, looks for another file."""
    said: dict[tuple[str, int], str] = {}
    together = Barrier(LEARNERS, timeout=20)

    def learner(rank: int) -> Word | None:
        def exchange(what: str, ours: str) -> list[str]:
            said[what, rank] = ours
            together.wait()
            heard = [said[what, peer] for peer in range(LEARNERS)]
            together.wait()
            return [f"{one}.not" for one in heard] if (what, rank) == ("word", deaf) else heard

        return word.handed_out(rank, exchange)

    with ThreadPoolExecutor(LEARNERS) as threads:
        return list(threads.map(learner, range(LEARNERS)))


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_all_have_the_same_word_and_no_file_is_left(folder: Path) -> None:
    first, *others = all_of()
    assert first is not None
    assert others == [first, first]
    assert len(first.text) == 32
    assert list(folder.iterdir()) == []
    assert all_of() != [first] * LEARNERS


def test_where_one_cannot_read_it_nobody_has_one(folder: Path) -> None:
    assert all_of(deaf=2) == [None] * LEARNERS
    assert list(folder.iterdir()) == []


def test_where_no_file_can_be_made_nobody_has_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(folder / "nowhere"))
    assert all_of() == [None] * LEARNERS


def test_a_launcher_gives_its_own(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(word.WORD, raising=False)
    assert word.given() is None
    (folder / "word").write_bytes(b"open sesame")
    monkeypatch.setenv(word.WORD, str(folder / "word"))
    assert word.given() == Word(b"open sesame")
    monkeypatch.setenv(word.WORD, str(folder / "gone"))
    assert word.given() is None


def test_a_word_is_not_shown() -> None:
    assert "sesame" not in repr(Word(b"open sesame"))


def test_only_its_owner_can_read_the_file(folder: Path) -> None:
    modes: list[int] = []

    def exchange(what: str, ours: str) -> list[str]:
        modes.extend(file.stat().st_mode & 0o777 for file in folder.iterdir())
        return [ours]

    assert word.handed_out(0, exchange) is not None
    assert modes == [0o600, 0o600]
