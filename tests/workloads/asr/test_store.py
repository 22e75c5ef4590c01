from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from dualrt.core.errors import UsageError
from dualrt.workloads.asr.store import Block, Description, SpeechFile, SpeechWriter

h5py = pytest.importorskip("h5py")

DESCRIPTION = Description(
    corpus="synthetic noise",
    corpus_sha256="00",
    synthetic=True,
    phone_names=["AA", "SIL"],
    states=300,
    train_files=["A"],
    heldout_files=["B"],
    shared_voices=["JOE"],
    versions={"maker": "1.0"},
    counts={"utterances": 2, "hours": 0.5},
)


def block(segments: int, seed: int) -> Block:
    draw = np.random.default_rng(seed)
    return Block(
        draw.standard_normal((segments, 21, 120)).astype(np.float16),
        draw.integers(0, 2, (segments, 21)).astype(np.uint8),
        draw.integers(0, 300, (segments, 21)).astype(np.int16),
    )


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "speech.h5"
    with SpeechWriter(path) as writer:
        writer.append("train", block(300, seed=1))
        writer.append("heldout", block(2, seed=2))
        writer.append("train", block(0, seed=3))
        writer.append("train", block(5, seed=4))
        writer.finish(DESCRIPTION)
    return path


def test_what_is_written_is_read(file: Path) -> None:
    data = SpeechFile(file).load()
    for split, blocks in (
        (data.train, [block(300, seed=1), block(5, seed=4)]),
        (data.heldout, [block(2, seed=2)]),
    ):
        np.testing.assert_array_equal(split.features, np.concatenate([b.features for b in blocks]))
        np.testing.assert_array_equal(split.phones, np.concatenate([b.phones for b in blocks]))
        np.testing.assert_array_equal(split.states, np.concatenate([b.states for b in blocks]))
    assert data.description == DESCRIPTION


def test_memory_holds_what_torch_trains_with(file: Path) -> None:
    data = SpeechFile(file).load()
    assert data.train.features.dtype == np.float32
    assert data.train.labels("phones").dtype == data.train.labels("states").dtype == np.int64
    assert data.train.labels("phones") is data.train.phones
    assert data.train.labels("states") is data.train.states
    assert (len(data.train), len(data.heldout)) == (305, 2)
    assert (data.outputs("phones"), data.outputs("states")) == (2, 300)


def test_a_part_can_be_read_without_the_rest(file: Path) -> None:
    part = SpeechFile(file).read("train", 299, 301)
    np.testing.assert_array_equal(part.phones[0], block(300, 1).phones[299])
    np.testing.assert_array_equal(part.phones[1], block(5, 4).phones[0])
    assert SpeechFile(file).segment_count("train") == 305


def test_a_writer_that_does_not_finish_leaves_the_old_file_and_nothing_else(file: Path) -> None:
    before = file.read_bytes()
    with suppress(KeyboardInterrupt), SpeechWriter(file) as writer:
        writer.append("train", block(1, seed=5))
        raise KeyboardInterrupt
    assert file.read_bytes() == before
    assert list(file.parent.iterdir()) == [file]


def test_finishing_replaces_the_old_file(file: Path) -> None:
    with SpeechWriter(file) as writer:
        writer.finish(DESCRIPTION)
    assert SpeechFile(file).segment_count("train") == 0
    assert list(file.parent.iterdir()) == [file]


def test_a_folder_that_does_not_exist_cannot_be_written(tmp_path: Path) -> None:
    with (
        pytest.raises(UsageError, match=r"it\.h5: cannot be written.*folder"),
        SpeechWriter(tmp_path / "nowhere" / "it.h5"),
    ):
        pass


def test_opening_waits_for_the_first_use(tmp_path: Path) -> None:
    later = SpeechFile(tmp_path / "later.h5")
    with pytest.raises(UsageError, match=r"later\.h5: no such file.*dualrt asr prepare fotaq"):
        later.segment_count("train")


def test_a_foreign_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "it.h5"
    path.write_bytes(b"not HDF5")
    with pytest.raises(UsageError, match=r"it\.h5: cut short or not HDF5.*Make it again"):
        SpeechFile(path).load()


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "it.h5"
    with h5py.File(path, "w") as other:
        other.attrs["format"] = "weather"
    with pytest.raises(UsageError, match=r"it\.h5: not prepared speech of this version"):
        SpeechFile(path).load()


@pytest.mark.parametrize("kept", [0.05, 0.5, 0.99])
def test_a_file_that_is_cut_short_is_refused(file: Path, kept: float) -> None:
    whole = file.read_bytes()
    file.write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(UsageError, match=r"speech\.h5: cut short"):
        SpeechFile(file).load()
