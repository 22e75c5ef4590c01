from __future__ import annotations

import hashlib
import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from dualrt.core.errors import UsageError
from dualrt.workloads.asr import fotaq

from .containers import container, cutscene, dialogue

FILES = {
    "010001J1.SB": b"mp3 of me",
    "010001P1.SB": b"mp3 of you",
    "010001P2.SB": b"mp3 of a sigh",
    "BLANK000.SB": b"mp3 of nothing",
    "C1A__011.SB": b"mp3 of you",
    "C1A__012.SB": b"mp3 of dots",
    "BOB1.DOG": dialogue(1, lead=[(1, "Me (sigh) too ")], other=[(1, "You*02<gulp> ")]),
    "C1A.CUT": cutscene("", ["You*03..."]),
}
DATA = container(FILES)


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the tiny data file the release that is known."""
    monkeypatch.setattr(fotaq, "SHA256", hashlib.sha256(DATA).hexdigest())
    monkeypatch.setattr(fotaq, "SIZE_BYTES", len(DATA))


def test_utterances_are_the_clips_with_words_each_sound_once() -> None:
    corpus = fotaq.corpus_of(FILES)
    assert [(u.clip, u.dialogue, u.text, u.audio) for u in corpus.utterances] == [
        ("010001J1", "BOB1.DOG", "Me   too", b"mp3 of me"),
        ("010001P1", "BOB1.DOG", "You", b"mp3 of you"),
    ]
    assert corpus.unmatched == 3  # a sigh, a clip that no script mentions, and dots
    assert corpus.repeated == 1


@pytest.mark.usefixtures("known")
def test_the_file_and_a_folder_that_holds_it_give_the_same(tmp_path: Path) -> None:
    file = tmp_path / "usr" / "share" / "queen.1c"
    file.parent.mkdir(parents=True)
    file.write_bytes(DATA)
    assert fotaq.read_corpus(file) == fotaq.read_corpus(tmp_path) == fotaq.corpus_of(FILES)


@pytest.mark.usefixtures("known")
@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="dpkg-deb is not installed")
def test_a_package_is_unpacked_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    assert fotaq.read_corpus(package(tmp_path)) == fotaq.corpus_of(FILES)
    assert list(scratch.iterdir()) == []


@pytest.mark.usefixtures("known")
@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="dpkg-deb is not installed")
def test_without_a_source_the_package_is_downloaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_command(tmp_path, monkeypatch, "apt-get", f"cp {package(tmp_path)} .")
    assert fotaq.read_corpus(None) == fotaq.corpus_of(FILES)


def test_a_failed_download_says_what_apt_said_and_the_way_around(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_command(tmp_path, monkeypatch, "apt-get", "echo E: no such package >&2; exit 100")
    with pytest.raises(UsageError, match=r"code 100: E: no such package\..*--from FILE"):
        fotaq.read_corpus(None)


def test_a_download_that_brings_nothing_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_command(tmp_path, monkeypatch, "apt-get", "true")
    with pytest.raises(UsageError, match="left no package"):
        fotaq.read_corpus(None)


def test_without_apt_the_way_around_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match=r"apt-get is needed.*--from FILE"):
        fotaq.read_corpus(None)


def test_a_damaged_package_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "it.deb").write_bytes(b"!<arch>\nand no more")
    with pytest.raises(UsageError, match=r"dpkg-deb.*--from FILE"):
        fotaq.read_corpus(tmp_path / "it.deb")


def test_a_missing_source_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nowhere: no such file.*--from"):
        fotaq.read_corpus(tmp_path / "nowhere")


def test_a_folder_without_the_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"holds no queen\.1c"):
        fotaq.read_corpus(tmp_path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not a data file"),
        (b"GIF89a", "not a data file"),
        (DATA[:-1], f"cut short: {len(DATA) - 1} of {len(DATA)} bytes"),
        (DATA[:-1] + b"?", "sha256 is .* but the release known here has"),
    ],
)
@pytest.mark.usefixtures("known")
def test_another_file_is_refused(tmp_path: Path, data: bytes, message: str) -> None:
    file = tmp_path / "queen.1c"
    file.write_bytes(data)
    with pytest.raises(UsageError, match=rf"queen\.1c: {message}"):
        fotaq.read_corpus(file)


def package(folder: Path) -> Path:
    """A Debian package that holds the tiny data file."""
    tree = folder / "tree"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN" / "control").write_text(
        "Package: tiny\nVersion: 1\nArchitecture: all\nMaintainer: nobody\nDescription: tiny\n"
    )
    (tree / "usr").mkdir()
    (tree / "usr" / "queen.1c").write_bytes(DATA)
    file = folder / "tiny.deb"
    subprocess.run(["dpkg-deb", "--build", tree, file], check=True, capture_output=True)
    return file


def fake_command(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, script: str) -> None:
    programs = folder / "bin"
    programs.mkdir()
    program = programs / name
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
