"""Files that a command is asked to write, looked at before anything runs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from dualrt.core.errors import UsageError
from dualrt.writable import refusal

PICTURES = (".png", ".svg", ".pdf")
"""What a picture's name may end in."""


def check_folder(out: Path | None) -> None:
    """Make the folder of `--out`. Raises UsageError if it is in use or cannot be made."""
    if out is None:
        return
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"--out {out} is there already. Name a new folder, or remove it")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"--out {out} cannot be made: {error.strerror}. Name another folder"
        ) from error


def check_file(out: Path | None, option: str = "--out", *, new: bool = False) -> None:
    """Raise UsageError for a file that cannot be written, or, if it is to be new, is there.

    `option` named it.
    """
    if out is None:
        return
    if out.is_dir():
        raise UsageError(f"{option} {out} is a folder. Name a file")
    if new and out.exists():
        raise UsageError(f"{option} {out} is there already. Name a new file, or remove it")
    _require_folder_of(out, option)


def check_picture(
    picture: Path | None, option: str = "--picture", suffixes: Sequence[str] = PICTURES
) -> None:
    """Raise UsageError for a picture that cannot be drawn; `option` named it."""
    if picture is None:
        return
    if picture.suffix not in suffixes:
        raise UsageError(f"{option} {picture}: its name must end in {', '.join(suffixes)}")
    check_file(picture, option)


def _require_folder_of(file: Path, option: str) -> None:
    if not file.parent.is_dir():
        raise UsageError(f"{option} {file}: there is no folder {file.parent}. Make it first")
    if file.exists():
        why = None if os.access(file, os.W_OK) else "it may not be written to"
    else:
        why = refusal(file.parent)
    if why is not None:
        raise UsageError(f"{option} {file} cannot be written: {why}. Name a file elsewhere")
