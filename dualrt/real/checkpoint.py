"""Checkpoints: states of a run's learners in a folder, each of which shows whether it is whole.

Owns the files: their form, their order of writing, what is wrong with them, and which are removed.
Must not know when a state is taken, nor what is in it.

    DIR/step-00000400/rank-0.safetensors    the tensors of learner 0
                      rank-0.json           its values; length and hash of the tensors' file
                      rank-1...
                      manifest.json         which learners' parts make it whole, with their hashes

Each file is written under another name, flushed to the disk and then renamed, tensors before
values, and the manifest once all parts are there. So what has a manifest was whole; a part that was
cut, or is of another run, is found by its length, its hash or what it says of its run. Nothing in
them is ever executed.

All processes of a run must see the same folder. Whoever only looks at it needs no torch, which is
loaded when tensors are written or read.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import msgspec
from safetensors import SafetensorError

from dualrt import __version__
from dualrt.core.errors import RunError
from dualrt.core.keeping import State

FORMAT = 1
"""The form of what is written here; who reads refuses any other."""

MANIFEST = "manifest.json"

Run: TypeAlias = Mapping[str, Any]
"""What must be the same of a run that goes on from a checkpoint; what JSON can say."""

S = TypeVar("S")


class _Form(msgspec.Struct):
    """What every form has."""

    format: int


class _File(msgspec.Struct):
    name: str
    bytes: int
    sha256: str


class _Part(msgspec.Struct):
    """What a learner's JSON says."""

    format: int
    dualrt: str
    step: int
    rank: int
    run: dict[str, Any]
    tensors: _File
    values: dict[str, Any]


class _Manifest(msgspec.Struct):
    """What makes a set whole."""

    format: int
    dualrt: str
    step: int
    run: dict[str, Any]
    parts: dict[str, str]
    """Hashes of the learners' JSON, by rank."""


class UnfitError(RunError):
    """A checkpoint cannot be used; the message says why, without naming it."""


class Checkpoints:
    """The checkpoints in `folder`, as learner `rank` of the run sees them.

    `number` is always that of a set: steps of a learner, on average. Methods that write raise
    RunError, with the file, if the system does not let them.
    """

    def __init__(self, folder: Path, rank: int, run: Run) -> None:
        self._folder, self._rank = folder, rank
        # As it looks when it was read.
        self._run: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(run))

    def of(self, rank: int) -> Checkpoints:
        """The same, as another learner of the run sees them."""
        return Checkpoints(self._folder, rank, self._run)

    def path(self, number: int) -> Path:
        """Where a set is."""
        return self._folder / f"step-{number:08d}"

    def numbers(self) -> list[int]:
        """Those of all sets, whole or not, newest first."""
        if not self._folder.is_dir():
            return []
        found = (re.fullmatch(r"step-(\d+)", path.name) for path in self._folder.iterdir())
        return sorted((int(one[1]) for one in found if one), reverse=True)

    def write(self, number: int, state: State) -> str:
        """Write this learner's part; returns what `complete` needs to know of it."""
        from safetensors.torch import save_file

        folder, name = self.path(number), f"rank-{self._rank}.safetensors"
        tensors = {key: one.detach().cpu().contiguous() for key, one in state.tensors.items()}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _put(folder / name, lambda unfinished: save_file(tensors, unfinished))
            part = _Part(
                FORMAT,
                __version__,
                number,
                self._rank,
                self._run,
                _File(name, (folder / name).stat().st_size, _hash(folder / name)),
                state.values,
            )
            return _put_json(folder / f"rank-{self._rank}.json", part)
        except (OSError, SafetensorError) as error:
            self.discard(number)
            raise RunError(f"checkpoint {folder} cannot be written: {error}") from error

    def discard(self, number: int) -> None:
        """A set comes to nothing: give back the room of this learner's part, and of the folder.

        On a disk that is full the next one needs it. Does nothing to a set that is whole.
        """
        if self.whole(number):
            return
        folder = self.path(number)
        for name in (f"rank-{self._rank}.json", f"rank-{self._rank}.safetensors"):
            for file in (folder / name, _unfinished(folder / name)):
                with suppress(OSError):
                    file.unlink(missing_ok=True)
        # While others' parts are there, it stays.
        with suppress(OSError):
            folder.rmdir()

    def complete(self, number: int, parts: Mapping[int, str], keep: int) -> None:
        """All parts are there: say so, and remove all older sets but the newest `keep` - 1."""
        folder = self.path(number)
        told = {str(rank): part for rank, part in sorted(parts.items())}
        manifest = _Manifest(FORMAT, __version__, number, self._run, told)
        try:
            _put_json(folder / MANIFEST, manifest)
            _flush_folder(self._folder)
        except OSError as error:
            with suppress(OSError):
                _unfinished(folder / MANIFEST).unlink(missing_ok=True)
            raise RunError(f"checkpoint {folder} cannot be written: {error}") from error
        older = [one for one in self.numbers() if one < number]
        whole = [one for one in older if self.whole(one)]
        for one in older:
            if one not in whole[: keep - 1]:
                # First what makes it whole: this may be cut short as well.
                with suppress(OSError):
                    (self.path(one) / MANIFEST).unlink(missing_ok=True)
                shutil.rmtree(self.path(one), ignore_errors=True)

    def whole(self, number: int) -> bool:
        """Whether a set was completed."""
        return (self.path(number) / MANIFEST).exists()

    def load(self, number: int) -> State | None:
        """This learner's part; None if the set is whole without, as its learner was lost then.

        Raises UnfitError for a set that is not whole, or of another run.
        """
        from safetensors.torch import load_file

        folder = self.path(number)
        if not self.whole(number):
            raise UnfitError(f"it has no {MANIFEST}: its writing was cut short")
        manifest = _read(folder / MANIFEST, _Manifest)
        self._require_same_run(manifest.run)
        if str(self._rank) not in manifest.parts:
            return None
        values = folder / f"rank-{self._rank}.json"
        _require_hash(values, manifest.parts[str(self._rank)])
        part = _read(values, _Part)
        file = folder / part.tensors.name
        if file.exists() and file.stat().st_size != part.tensors.bytes:
            raise UnfitError(
                f"{file.name} has {file.stat().st_size} bytes, and had {part.tensors.bytes}"
            )
        _require_hash(file, part.tensors.sha256)
        return State(load_file(file), part.values)

    def _require_same_run(self, run: dict[str, Any]) -> None:
        ours, theirs = _flat(self._run), _flat(run)
        for key in sorted(ours.keys() | theirs.keys()):
            if ours.get(key) != theirs.get(key):
                raise UnfitError(
                    f"it is of another run: there {key} = {theirs.get(key)!r}, and here "
                    f"{ours.get(key)!r}"
                )


def _flat(table: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """By dotted keys."""
    found: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{before}{key}.")
        else:
            found[before + key] = value
    return found


def _put(file: Path, write: Callable[[Path], object]) -> None:
    """Have a file written whole, or not at all."""
    unfinished = _unfinished(file)
    write(unfinished)
    with unfinished.open("rb") as written:
        os.fsync(written.fileno())
    unfinished.replace(file)
    _flush_folder(file.parent)


def _unfinished(file: Path) -> Path:
    """What a file is called while it is being written."""
    return file.with_name(f".{file.name}.part")


def _put_json(file: Path, content: msgspec.Struct) -> str:
    """Returns the hash of what was written."""
    text = msgspec.json.format(msgspec.json.encode(content), indent=1)
    _put(file, lambda unfinished: unfinished.write_bytes(text))
    return hashlib.sha256(text).hexdigest()


def _flush_folder(folder: Path) -> None:
    """A name is on the disk when its folder is."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _hash(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _require_hash(file: Path, expected: str) -> None:
    try:
        found = _hash(file)
    except OSError as error:
        raise UnfitError(f"{file.name} cannot be read: {error.strerror}") from error
    if found != expected:
        raise UnfitError(f"{file.name} is not what was written: its hash is another")


def _read(file: Path, kind: type[S]) -> S:
    try:
        content = file.read_bytes()
        form = msgspec.json.decode(content, type=_Form).format
        if form != FORMAT:
            raise UnfitError(f"{file.name} has form {form}, and this dualrt reads form {FORMAT}")
        return msgspec.json.decode(content, type=kind)
    except OSError as error:
        raise UnfitError(f"{file.name} cannot be read: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise UnfitError(f"{file.name} cannot be read: {error}") from error
