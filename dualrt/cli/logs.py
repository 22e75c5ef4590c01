"""Logs: where the records of logging go while a command runs.

Owns levels and forms: lines for people, through rich, or one JSON object a line; and the way of a
learner's records to the parent of a local run, which writes those of all. All go to stderr. Must
not know what happened: that is `dualrt.real.events`, or the command's words (`dualrt.cli.show`).

A command's own words are told to the logger `OURS`, below them only the runtime's.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from logging.handlers import QueueHandler, QueueListener
from typing import Any

from dualrt.cli.talk import say
from dualrt.real.reports import REPORTS

ALL = "dualrt"
"""The logger above all of ours."""

OURS = "dualrt.cli"
"""That of what the command line says: it is heard at the usual level whatever the runtime's is."""


class Level(StrEnum):
    """From which level on records are written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"

    @property
    def number(self) -> int:
        """As the standard library has it."""
        return logging.getLevelNamesMapping()[self.value.upper()]


class Form(StrEnum):
    """What a record becomes."""

    TEXT = "text"
    JSON = "json"


@contextmanager
def heard() -> Iterator[None]:
    """Meanwhile, records go to stderr as `choose` says; afterwards to where they went before."""
    everything, ours = logging.getLogger(ALL), logging.getLogger(OURS)
    handlers, propagates = list(everything.handlers), everything.propagate
    levels = everything.level, ours.level
    everything.propagate = False
    choose()
    try:
        yield
    finally:
        _hand_to(*handlers)
        everything.propagate = propagates
        for logger, level in zip((everything, ours), levels, strict=True):
            logger.setLevel(level)


def choose(level: Level = Level.WARNING, form: Form = Form.TEXT) -> None:
    """From now on, records of this level and above become what the form says."""
    _hand_to(_Json() if form is Form.JSON else _Text())
    logging.getLogger(ALL).setLevel(level.number)
    usual = logging.INFO if level.number <= logging.WARNING else level.number
    logging.getLogger(OURS).setLevel(min(usual, level.number))


def for_people() -> bool:
    """Whether they are lines for people, among which a bar that moves may be."""
    return not any(isinstance(one, _Json) for one in logging.getLogger(ALL).handlers)


@contextmanager
def beside() -> Iterator[None]:
    """For a process with threads that must not wait until somebody takes what it says.

    Meanwhile a thread of its own hands records on: to the parent of a local run, if there is one,
    and else to where they went before.
    """
    before = list(logging.getLogger(ALL).handlers)
    relayed = REPORTS in os.environ
    records: queue.SimpleQueue[Any] = queue.SimpleQueue()
    listener = QueueListener(records, *((_Relay(),) if relayed else before))
    listener.start()
    _hand_to(_Beside(records))
    try:
        yield
    finally:
        listener.stop()
        _hand_to(*before)


def repeat(told: dict[str, Any]) -> None:
    """Write a record that another process has relayed."""
    logger = logging.getLogger(told["name"])
    if logger.isEnabledFor(told["levelno"]):
        logger.handle(logging.makeLogRecord(told))


def plain(record: logging.LogRecord) -> dict[str, Any]:
    """A record as `--log-format json` writes it."""
    at = datetime.fromtimestamp(record.created, UTC)
    return {
        "time": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "level": record.levelname.lower(),
        "rank": getattr(record, "rank", _own_rank()),
        "incarnation": getattr(record, "incarnation", 0),
        "event": getattr(record, "event", "note"),
        "message": record.getMessage(),
        "fields": getattr(record, "fields", {}),
    }


def _own_rank() -> int | None:
    """Of this process, if a launcher started it."""
    rank = os.environ.get("RANK", "")
    return int(rank) if rank.isdecimal() else None


def _hand_to(*handlers: logging.Handler) -> None:
    logger = logging.getLogger(ALL)
    for one in list(logger.handlers):
        logger.removeHandler(one)
    for one in handlers:
        logger.addHandler(one)


class _Text(logging.Handler):
    """Lines for people; the runtime's have the time of day."""

    def emit(self, record: logging.LogRecord) -> None:
        from dualrt.cli.show import notes

        style = "yellow" if record.levelno == logging.WARNING else None
        notes.print(_line(record), style=style, markup=False, emoji=False, soft_wrap=True)


def _line(record: logging.LogRecord) -> str:
    said = record.getMessage()
    ours = record.name == OURS
    if record.levelno == logging.WARNING:
        said = f"warning: {said}"
    elif record.levelno >= logging.ERROR:
        said = f"{'dualrt' if ours else 'error'}: {said}"
    if ours:
        return said
    return f"{datetime.fromtimestamp(record.created):%H:%M:%S} {said}"


class _Json(logging.Handler):
    """One JSON object a line."""

    def emit(self, record: logging.LogRecord) -> None:
        # At once, so that lines of several processes do not mix.
        sys.stderr.write(json.dumps(plain(record)) + "\n")
        sys.stderr.flush()


class _Relay(logging.Handler):
    """To the parent, which has the level, the form and stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        kept = ("name", "levelno", "levelname", "created", "rank", "incarnation", "event", "fields")
        found = {name: getattr(record, name) for name in kept if hasattr(record, name)}
        say({"record": {**found, "msg": record.getMessage(), "args": None}})


class _Beside(QueueHandler):
    """To the listener's thread, as it is: nothing leaves this process."""

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        return record
