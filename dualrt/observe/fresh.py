"""Files of a run that must be new: what an earlier run wrote is never written over.

Owns how one is made, and the error where it cannot be. Must not know what is written there.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from dualrt.core.errors import UsageError


def fresh(path: Path, buffering: int = -1) -> BinaryIO:
    """A new file, and the folders that lead to it; `buffering` as `open` takes it.

    Raises UsageError if it is there already, or cannot be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("xb", buffering=buffering)
    except OSError as error:
        raise UsageError(
            f"{path} cannot be made ({error.strerror}: {error.filename}). Name another folder, or "
            "remove what is there"
        ) from error
