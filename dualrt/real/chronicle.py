"""Chronicle: the records of one learner, into which all its threads write.

Owns that they do so one at a time, and how long an observer may wait. Must not know what records
are of.
"""

from __future__ import annotations

import threading

from dualrt.core.journal import Journal
from dualrt.core.records import Lane, Observer, Row, Update

FLUSH_S = 0.5
"""How long an update may wait to be told to an observer that takes records in bulk. To tell it
takes the strand 1.6 ms, most of it whatever the number of records: at every 0.1 s that was 0.55 ms
of each step of 33 ms."""


class Chronicle:
    """What `observer` is told of; any thread may write."""

    def __init__(self, observer: Observer) -> None:
        self._journal, self._writing = Journal(observer), threading.Lock()
        self._flushed_s = 0.0

    def span(self, lane: Lane, row: Row) -> None:
        """Write an effect that has been answered."""
        with self._writing:
            self._journal.pen(lane)(row)

    def update(self, now_s: float, update: Update) -> None:
        """Write an update."""
        with self._writing:
            self._journal.update(now_s, update)
            if now_s - self._flushed_s >= FLUSH_S:
                self._flushed_s = now_s
                self._journal.flush()

    def flush(self) -> None:
        """Tell what has been kept."""
        with self._writing:
            self._journal.flush()
