"""Talk: what the processes of a local run tell their parent, on stdout between what users print.

Owns the form: one JSON object a line, after a mark. Must not know what is said.
"""

from __future__ import annotations

import json
import sys
import threading
from typing import Any, NamedTuple

SAYS = "\x1e"
"""What stands before a record that a process tells its parent, as in RFC 7464; anything else was
printed by the user's own code."""

_SPEAKING = threading.Lock()


class Heard(NamedTuple):
    """One line of a process."""

    printed: str | None
    """What user's code printed; None if there is nothing of it."""
    said: dict[str, Any]
    """What was told; empty if nothing was."""


def say(told: dict[str, Any]) -> None:
    """Tell the parent, from any thread."""
    line = f"{SAYS}{json.dumps(told)}\n"
    # In one piece, which no other thread's words can get into.
    with _SPEAKING:
        sys.stdout.write(line)
        sys.stdout.flush()


def heard(line: str) -> Heard:
    """Take a line apart."""
    printed, mark, record = line.rstrip("\n").partition(SAYS)
    return Heard(printed if printed or not mark else None, json.loads(record) if mark else {})
