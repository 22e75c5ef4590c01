"""Whether a folder may be written to, found by trying.

Its mode does not say: nothing can be made in some that root may write to, nor in any of a file
system that is mounted read-only. Must not know what is to be written there.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory


def refusal(folder: Path) -> str | None:
    """Why nothing can be made in a folder that there is; None if it can. Leaves nothing behind."""
    try:
        with TemporaryDirectory(prefix=".dualrt-", dir=folder):
            return None
    except OSError as error:
        return error.strerror or str(error)
