"""The corpus: the voiced dialogue of the game "Flight of the Amazon Queen" (1995).

4.5 hours of acted English with exact text, 6,745 clips of MP3 at 11,025 Hz. The game is freeware:
it may be passed on and changed, not sold by itself. No audio is kept in this repository; it comes
from a file that the user gives, or from Debian's package at run time.

Owns where the data file is found, the proof that it is the one release known here, and which clips
make utterances. The bytes inside are `queen`'s business.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from dualrt.core.errors import UsageError
from dualrt.workloads.asr import queen
from dualrt.workloads.asr.utterance import Corpus, Utterance

PACKAGE: Final = "flight-of-the-amazon-queen"
DATA_FILE: Final = "queen.1c"
SHA256: Final = "cc91960d133fcd4173eda4bac304e80d2bbdbaa085640287ab9e0507bd603f67"
SIZE_BYTES: Final = 54_108_887

_DEB_MAGIC: Final = b"!<arch>\n"
_STAGE_DIRECTION: Final = re.compile(r"<[^>]*>|\([^)]*\)")


def read_corpus(source: Path | None) -> Corpus:
    """Read the corpus from `source`, or fetch Debian's package into a temporary folder if None.

    `source` is the data file, the Debian package, or a folder that holds the data file.

    Raises:
        UsageError: nothing there, a foreign or damaged file, or no way to fetch or unpack it.
    """
    with _data_file(source) as path:
        return corpus_of(queen.members(_verified(path), str(path)))


def corpus_of(files: Mapping[str, bytes]) -> Corpus:
    """The corpus among the members of a data file.

    Sound tests and sighs are no utterances. Scenes that exist in two versions share recordings;
    each is kept once, or the same sound could be trained on and held out.

    Raises:
        UsageError: a script is damaged.
    """
    lines = queen.lines(files)
    clips = {Path(name).stem: data for name, data in files.items() if _is_clip(name)}
    seen: set[bytes] = set()
    utterances, unmatched, repeated = [], 0, 0
    for clip, audio in clips.items():
        line = lines.get(clip)
        text = _STAGE_DIRECTION.sub(" ", line.text) if line else ""
        if line is None or not re.search(r"\w", text):
            unmatched += 1
            continue
        digest = hashlib.sha256(audio).digest()
        if digest in seen:
            repeated += 1
            continue
        seen.add(digest)
        utterances.append(Utterance(clip, line.script, line.group, line.voice, text.strip(), audio))
    return Corpus(
        name="Flight of the Amazon Queen",
        sha256=SHA256,
        synthetic=False,
        utterances=tuple(utterances),
        unmatched=unmatched,
        repeated=repeated,
    )


def _is_clip(name: str) -> bool:
    return name.endswith(queen.CLIP_SUFFIX)


def _verified(path: Path) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as failure:
        raise UsageError(f"{path}: cannot be read: {failure.strerror}.") from failure
    if not data.startswith(queen.MAGIC):
        raise UsageError(
            f"{path}: not a data file of Flight of the Amazon Queen. Give {DATA_FILE}, Debian's "
            f"package {PACKAGE}, or the folder it was unpacked into."
        )
    if len(data) < SIZE_BYTES:
        raise UsageError(
            f"{path}: cut short: {len(data)} of {SIZE_BYTES} bytes. Fetch it again, or leave out "
            "--from to have it fetched."
        )
    if (digest := hashlib.sha256(data).hexdigest()) != SHA256:
        raise UsageError(
            f"{path}: sha256 is {digest}, but the release known here has {SHA256}. Use "
            f"{DATA_FILE} from Debian's package {PACKAGE}."
        )
    return data


@contextmanager
def _data_file(source: Path | None) -> Iterator[Path]:
    """The path of the data file, for as long as whatever had to be unpacked exists."""
    if source is not None and not source.exists():
        raise UsageError(f"{source}: no such file or folder. Correct --from, or leave it out.")
    if source is not None and source.is_dir():
        yield _inside(source)
        return
    if source is not None and not _is_package(source):
        yield source
        return
    with TemporaryDirectory(prefix="dualrt-fotaq-") as folder:
        package = source or _downloaded(Path(folder))
        unpacked = Path(folder) / "unpacked"
        _command("dpkg-deb", "-x", str(package.resolve()), str(unpacked), cwd=Path(folder))
        yield _inside(unpacked, package)


def _is_package(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(_DEB_MAGIC)) == _DEB_MAGIC
    except OSError as failure:
        raise UsageError(f"{path}: cannot be read: {failure.strerror}.") from failure


def _inside(folder: Path, named: Path | None = None) -> Path:
    found = min(folder.rglob(DATA_FILE), default=None)
    if found is None:
        raise UsageError(
            f"{named or folder}: holds no {DATA_FILE}. Give Debian's package {PACKAGE}, the folder "
            "it was unpacked into, or the file itself."
        )
    return found


def _downloaded(folder: Path) -> Path:
    _command("apt-get", "download", "--quiet", PACKAGE, cwd=folder)
    found = min(folder.glob("*.deb"), default=None)
    if found is None:
        raise UsageError(f"apt-get download {PACKAGE} left no package. {_REMEDY}")
    return found


_REMEDY: Final = (
    f"Download Debian's package {PACKAGE} elsewhere, unpack it, and give its {DATA_FILE} with "
    "--from FILE."
)


def _command(program: str, *arguments: str, cwd: Path) -> None:
    if shutil.which(program) is None:
        raise UsageError(f"{program} is needed to get the corpus, and is not installed. {_REMEDY}")
    done = subprocess.run(
        [program, *arguments], cwd=cwd, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise UsageError(
            f"{program} {' '.join(arguments)} failed with exit code {done.returncode}: "
            f"{said[-1] if said else 'it said nothing'}. {_REMEDY}"
        )
