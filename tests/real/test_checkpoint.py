"""Files of checkpoints: what is whole comes back, and what is not is told by its fault."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from dualrt.core.errors import RunError
from dualrt.core.keeping import State
from dualrt.real.checkpoint import Checkpoints, UnfitError

RUN = {"learners": 2, "algorithm": {"name": "adpsgd"}, "seed": 1}


def state(rank: int) -> State:
    tensors = {"weights": torch.arange(6.0) + rank, "optimizer.step": torch.tensor(3.0)}
    return State(tensors, {"draws": 7 + rank, "mass": 1 / 3, "versions": [4, 5]})


def kept(folder: Path, number: int, keep: int = 2) -> Checkpoints:
    """A set of two learners, as learner 0 sees it."""
    mine = Checkpoints(folder, 0, RUN)
    parts = {rank: mine.of(rank).write(number, state(rank)) for rank in range(2)}
    mine.complete(number, parts, keep)
    return mine


@pytest.mark.parametrize("rank", [0, 1])
def test_a_part_comes_back_to_the_bit(tmp_path: Path, rank: int) -> None:
    found = kept(tmp_path, 40).of(rank).load(40)
    assert found is not None
    assert found.values == state(rank).values
    assert found.tensors.keys() == state(rank).tensors.keys()
    for name, tensor in state(rank).tensors.items():
        assert torch.equal(found.tensors[name], tensor)


def test_a_learner_that_was_lost_has_no_part(tmp_path: Path) -> None:
    mine = Checkpoints(tmp_path, 0, RUN)
    mine.complete(3, {0: mine.write(3, state(0))}, 2)
    assert mine.of(1).load(3) is None


def truncate(folder: Path) -> None:
    file = folder / "rank-0.safetensors"
    file.write_bytes(file.read_bytes()[:-4])


def flip(folder: Path) -> None:
    file = folder / "rank-0.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def alter(folder: Path) -> None:
    file = folder / "rank-0.json"
    file.write_text(file.read_text().replace('"draws": 7', '"draws": 9'))


def renumber(folder: Path) -> None:
    file = folder / "manifest.json"
    file.write_text(file.read_text().replace('"format": 1', '"format": 2'))


FAULTS: list[tuple[Callable[[Path], object], str]] = [
    (truncate, r"rank-0.safetensors has \d+ bytes, and had \d+"),
    (flip, "rank-0.safetensors is not what was written"),
    (alter, "rank-0.json is not what was written"),
    (renumber, "manifest.json has form 2, and this dualrt reads form 1"),
    (lambda folder: (folder / "manifest.json").write_text("{"), "manifest.json cannot be read"),
    (lambda folder: (folder / "manifest.json").unlink(), "no manifest.json: .* cut short"),
    (lambda folder: (folder / "rank-0.json").unlink(), "rank-0.json cannot be read"),
    (lambda folder: (folder / "rank-0.safetensors").unlink(), "rank-0.safetensors cannot be read"),
]


@pytest.mark.parametrize(("spoil", "told"), FAULTS, ids=[told for _, told in FAULTS])
def test_what_is_not_as_it_was_written_is_told(
    tmp_path: Path, spoil: Callable[[Path], object], told: str
) -> None:
    mine = kept(tmp_path, 40)
    spoil(mine.path(40))
    with pytest.raises(UnfitError, match=told):
        mine.load(40)


@pytest.mark.parametrize(
    ("run", "told"),
    [
        ({**RUN, "learners": 4}, "there learners = 2, and here 4"),
        (
            {**RUN, "algorithm": {"name": "ssgd"}},
            "there algorithm.name = 'adpsgd', and here 'ss",
        ),
        ({**RUN, "workload": {"batch": 8}}, "there workload.batch = None, and here 8"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(
    tmp_path: Path, run: dict[str, object], told: str
) -> None:
    kept(tmp_path, 40)
    with pytest.raises(UnfitError, match=f"it is of another run: {told}"):
        Checkpoints(tmp_path, 0, run).load(40)


def test_parts_of_two_lives_do_not_make_a_whole(tmp_path: Path) -> None:
    mine = kept(tmp_path, 40)
    mine.write(40, state(1))
    with pytest.raises(UnfitError, match=r"rank-0.json is not what was written"):
        mine.load(40)


def test_the_newest_stay_and_what_was_cut_short_goes(tmp_path: Path) -> None:
    kept(tmp_path, 10)
    kept(tmp_path, 20)
    Checkpoints(tmp_path, 0, RUN).write(25, state(0))
    mine = kept(tmp_path, 30)
    assert mine.numbers() == [30, 20]


def test_what_is_no_checkpoint_stays(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "step-of-mine").mkdir()
    for number in (10, 20, 30):
        kept(tmp_path, number, keep=1)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"notes", "step-of-mine", "step-00000030"}


def test_nothing_is_left_beside_what_was_written(tmp_path: Path) -> None:
    mine = kept(tmp_path, 40)
    names = {path.name for path in mine.path(40).iterdir()}
    parts = {f"rank-{rank}.{kind}" for rank in range(2) for kind in ("json", "safetensors")}
    assert names == parts | {"manifest.json"}


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match=r"file/step-00000001 cannot be written: .*Not a directory"):
        Checkpoints(tmp_path / "file", 0, RUN).write(1, state(0))


def test_values_can_be_read_by_anything_that_reads_json(tmp_path: Path) -> None:
    mine = kept(tmp_path, 40)
    told = json.loads((mine.path(40) / "rank-0.json").read_text())
    assert (told["step"], told["rank"], told["values"]["draws"]) == (40, 0, 7)
    assert told["run"] == RUN


@pytest.mark.parametrize("name", ["rank-0.safetensors", "rank-0.json"])
def test_a_part_that_cannot_be_written_leaves_none_of_it(tmp_path: Path, name: str) -> None:
    mine = kept(tmp_path, 40)
    # What is written first can be no file where there is a folder.
    (mine.path(50) / f".{name}.part").mkdir(parents=True)
    with pytest.raises(RunError, match="step-00000050 cannot be written"):
        mine.write(50, state(0))
    assert [file.name for file in mine.path(50).iterdir()] == [f".{name}.part"]


def test_a_set_that_comes_to_nothing_is_removed_part_by_part(tmp_path: Path) -> None:
    mine = Checkpoints(tmp_path, 0, RUN)
    for rank in range(2):
        mine.of(rank).write(40, state(rank))
    mine.discard(40)
    assert sorted(file.name for file in mine.path(40).iterdir()) == [
        "rank-1.json",
        "rank-1.safetensors",
    ]
    mine.of(1).discard(40)
    assert not mine.path(40).exists()


def test_one_that_is_whole_is_not_discarded(tmp_path: Path) -> None:
    mine = kept(tmp_path, 40)
    mine.discard(40)
    assert mine.load(40) is not None
