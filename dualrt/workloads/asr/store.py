"""The file of prepared speech: segments of features and labels, in HDF5.

Owns the layout, the writing (to a temporary name, renamed when complete) and the reading. Knows
nothing of how features and labels were made.

    /train, /heldout
        features  float16 [segments, 21, 120]
        phones    uint8   [segments, 21]
        states    int16   [segments, 21]
    attributes of the root
        format        "dualrt speech", and `version`
        description   JSON of `Description`

Features have zero mean and unit variance over a clip, so that float16 rounds them by less than one
part in a thousand; it halves the file. The same preparation gives the same bytes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray

from dualrt.core.errors import UsageError
from dualrt.workloads.asr.extra import needed
from dualrt.workloads.asr.features import DIMENSIONS, SEGMENT_FRAMES

Labels = Literal["phones", "states"]
"""What a network is asked to tell apart."""

SplitName = Literal["train", "heldout"]

_FORMAT: Final = "dualrt speech"
_VERSION: Final = 1
_CHUNK_SEGMENTS: Final = 256
_DATASETS: Final = {
    "features": (np.float16, (SEGMENT_FRAMES, DIMENSIONS)),
    "phones": (np.uint8, (SEGMENT_FRAMES,)),
    "states": (np.int16, (SEGMENT_FRAMES,)),
}


@dataclass(frozen=True, slots=True)
class Description:
    """What a file of prepared speech says about itself.

    `corpus` and its `corpus_sha256`; `synthetic` is true for speech that no person spoke.
    `versions` of the packages that decoded, aligned and computed features. `counts` of everything
    kept and left out. `phone_names` by label; `states` is the number of states that exist, whether
    seen or not. `train_files` and `heldout_files` are the dialogue files of each side, and
    `shared_voices` the speakers that are heard on both.
    """

    corpus: str
    corpus_sha256: str
    synthetic: bool
    phone_names: Sequence[str]
    states: int
    train_files: Sequence[str] = ()
    heldout_files: Sequence[str] = ()
    shared_voices: Sequence[str] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    counts: Mapping[str, int | float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Block:
    """Segments of one or more clips: features `[S, 21, 120]`, phones and states `[S, 21]`."""

    features: NDArray[np.float16]
    phones: NDArray[np.uint8]
    states: NDArray[np.int16]


class SpeechWriter:
    """Writes a file of prepared speech; a context manager.

    The file has a temporary name, in the same folder, until `finish` gives it its own; if the
    context ends before, for whatever reason, the temporary file is removed.

    Raises:
        UsageError: the folder does not exist, or cannot be written.
        MissingExtraError: h5py is not installed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.partial = path.with_name(f".{path.name}.{os.getpid()}.part")
        self._h5py = needed("h5py", "writing prepared speech")

    def __enter__(self) -> Self:
        try:
            self._file = self._h5py.File(self.partial, "w", libver="v110")
        except OSError as failure:
            raise UsageError(
                f"{self.path}: cannot be written: {failure}. Give a file in a folder that exists "
                "and may be written."
            ) from failure
        for split in get_args(SplitName):
            for name, (dtype, shape) in _DATASETS.items():
                self._file.create_dataset(
                    f"{split}/{name}",
                    shape=(0, *shape),
                    maxshape=(None, *shape),
                    chunks=(_CHUNK_SEGMENTS, *shape),
                    dtype=dtype,
                )
        return self

    def append(self, split: SplitName, block: Block) -> None:
        """Add the segments of `block` behind those that `split` has."""
        for name in _DATASETS:
            rows = getattr(block, name)
            dataset = self._file[split][name]
            dataset.resize(len(dataset) + len(rows), axis=0)
            dataset[len(dataset) - len(rows) :] = rows

    def finish(self, description: Description) -> None:
        """Close the file and give it its own name, in place of any file that has it."""
        self._file.attrs["format"] = _FORMAT
        self._file.attrs["version"] = _VERSION
        self._file.attrs["description"] = json.dumps(asdict(description))
        self._file.close()
        self.partial.replace(self.path)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()
        self.partial.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class Segments:
    """Segments in memory: features float32 `[S, 21, 120]`; phones, states int64 `[S, 21]`.

    Labels are int64 because that is what torch's losses index with.
    """

    features: NDArray[np.float32]
    phones: NDArray[np.int64]
    states: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.features)

    def labels(self, kind: Labels) -> NDArray[np.int64]:
        """The labels `[S, 21]` of that kind."""
        return self.phones if kind == "phones" else self.states


@dataclass(frozen=True, slots=True)
class SpeechData:
    """A whole file of prepared speech in memory."""

    train: Segments
    heldout: Segments
    description: Description

    def outputs(self, kind: Labels) -> int:
        """How many labels of that kind exist: the width of a network's output."""
        described = self.description
        return len(described.phone_names) if kind == "phones" else described.states


class SpeechFile:
    """A file of prepared speech; opened at the first use, and only while it is read.

    Every use raises:
        UsageError: the file is missing, cut short, or of another kind.
        MissingExtraError: h5py is not installed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def description(self) -> Description:
        """What the file says about itself; reads no features."""
        with self._opened() as file:
            return Description(**json.loads(file.attrs["description"]))

    def segment_count(self, split: SplitName) -> int:
        """The number of segments in `split`; reads no features."""
        with self._opened() as file:
            return len(file[split]["features"])

    def read(self, split: SplitName, start: int = 0, stop: int | None = None) -> Segments:
        """The segments of `split` from `start` until before `stop` (the end, if None)."""
        with self._opened() as file:
            group = file[split]
            try:
                return Segments(
                    features=group["features"][start:stop].astype(np.float32),
                    phones=group["phones"][start:stop].astype(np.int64),
                    states=group["states"][start:stop].astype(np.int64),
                )
            except OSError as failure:
                raise self._unreadable(failure) from failure

    def load(self) -> SpeechData:
        """All of it. An hour of speech takes 180 MB."""
        return SpeechData(self.read("train"), self.read("heldout"), self.description)

    def _opened(self) -> Any:
        h5py = needed("h5py", "reading prepared speech")
        if not self.path.is_file():
            raise UsageError(
                f"{self.path}: no such file. Make one with: dualrt asr prepare fotaq "
                f"--out {self.path}"
            )
        try:
            file = h5py.File(self.path, "r")
        except OSError as failure:
            raise self._unreadable(failure) from failure
        found = file.attrs.get("format"), file.attrs.get("version")
        if found == (_FORMAT, _VERSION):
            return file
        file.close()
        raise UsageError(
            f"{self.path}: not prepared speech of this version: format and version are {found}, "
            f"not {(_FORMAT, _VERSION)}. {self._remedy}"
        )

    def _unreadable(self, failure: OSError) -> UsageError:
        return UsageError(f"{self.path}: cut short or not HDF5 ({failure}). {self._remedy}")

    @property
    def _remedy(self) -> str:
        return f"Make it again with: dualrt asr prepare fotaq --out {self.path}"
