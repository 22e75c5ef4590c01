"""Events: what a process of a real run tells whoever operates it, through standard logging.

Owns the logger's name, what a record carries beside its sentence, and how often the same is said.
Must not know where records go: that is up to whoever sets up logging, the command line
(`dualrt.cli.logs`) or a program of the user's.

A record's message is a whole sentence, for people. For machines it has four attributes more:
`event`, the name of what happened, which stays the same from version to version; `rank`, None for
the launcher; `incarnation`, how often that learner was started before; and `fields`, a dict of what
JSON can say.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Hashable
from typing import Any

LOGGER = "dualrt.real"
"""All events of real runs are told to it; its parent `dualrt` has the command line's words too."""


class Events:
    """What one process tells. Any thread may use it."""

    def __init__(self, rank: int | None, incarnation: int = 0) -> None:
        self._identity = {"rank": rank, "incarnation": incarnation}
        self._logger = logging.getLogger(LOGGER)

    def debug(self, event: str, sentence: str, **fields: Any) -> None:
        """What helps to find out why something does not work."""
        self._tell(logging.DEBUG, event, sentence, fields)

    def info(self, event: str, sentence: str, **fields: Any) -> None:
        """What happens in every run."""
        self._tell(logging.INFO, event, sentence, fields)

    def warning(self, event: str, sentence: str, **fields: Any) -> None:
        """What somebody may have to do something about, and its end."""
        self._tell(logging.WARNING, event, sentence, fields)

    def _tell(self, level: int, event: str, sentence: str, fields: dict[str, Any]) -> None:
        if self._logger.isEnabledFor(level):
            extra = {**self._identity, "event": event, "fields": fields}
            self._logger.log(level, "%s", sentence, extra=extra)


class Sparingly:
    """Says of things that may happen a thousand times a second when to speak of them.

    For each kind of thing: at once, and then once an `interval_s` at most, with the number of times
    since the last. Any thread may use it.
    """

    def __init__(self, interval_s: float, now_s: Callable[[], float] = time.monotonic) -> None:
        self._interval_s, self._now_s = interval_s, now_s
        self._lock = threading.Lock()
        self._told: dict[Hashable, tuple[float, int]] = {}
        """When each kind is due again, and how often it was passed over."""

    def count(self, kind: Hashable) -> int:
        """It happened; returns how many times to speak of, 0 for not now."""
        now_s = self._now_s()
        with self._lock:
            due_s, passed = self._told.get(kind, (now_s, 0))
            if now_s < due_s:
                self._told[kind] = due_s, passed + 1
                return 0
            self._told[kind] = now_s + self._interval_s, 0
            return passed + 1
