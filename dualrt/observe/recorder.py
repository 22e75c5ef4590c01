"""Recorder: records as files, written as they happen.

Owns the file format. Must not know a clock: what is on disk depends on the records alone.

A process writes `records-<rank>.jsonl` (`.jsonl.gz` if compressed), and once restarted
`records-<rank>.<incarnation>.jsonl`. Each line is a JSON object with one key:

    {"header": {"version": 1, "rank": 0, "span": [field names], "update": [field names]}}
    {"span": [values]}
    {"update": [time_s, [values]]}

JSON has no NaN and no infinity: a loss that is not finite is written as null. What was flushed
survives a crash; a last line that was cut short is left out when read.
"""

from __future__ import annotations

import gzip
import math
import re
import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, NamedTuple, Self, TypeAlias, cast

import msgspec

from dualrt.core.errors import RunError, UsageError
from dualrt.core.records import Span, Update
from dualrt.observe.fresh import fresh

SECONDS_PER_FLUSH = 0.5
"""What a crash may lose of a run that somebody waits for."""

VERSION = 1

_BEGINS = b'{"header":'
"""What a file of records begins with."""

_NAME = re.compile(r"records-(\d+)(?:\.(\d+))?\.jsonl(?:\.gz)?")
"""Of a file: rank, incarnation."""


class Applied(NamedTuple):
    """An update, and when it was applied."""

    time_s: float
    update: Update


Record: TypeAlias = Span | Applied


class _Header(msgspec.Struct, frozen=True):
    version: int
    rank: int
    span: tuple[str, ...]
    update: tuple[str, ...]


class _Line(msgspec.Struct, frozen=True, omit_defaults=True):
    header: _Header | None = None
    span: Span | None = None
    update: Applied | None = None


class Recorder:
    """An observer that writes every record to a file of its own.

    Parameters: `directory` is made if need be; `rank` and `incarnation` name the process;
    `records_per_flush` and `seconds_per_flush`, of the run's time, bound what a crash loses. Use as
    a context manager, or call `close`.
    Raises UsageError if the file is there already, as the records of a run are never overwritten,
    or cannot be made.
    All methods raise RunError once if the disk is full, and keep nothing from then on.
    """

    def __init__(
        self,
        directory: Path | str,
        *,
        rank: int = 0,
        incarnation: int = 0,
        compressed: bool = False,
        records_per_flush: int = 4096,
        seconds_per_flush: float = math.inf,
    ) -> None:
        stem = f"records-{rank}.{incarnation}" if incarnation else f"records-{rank}"
        self.path = Path(directory) / f"{stem}.jsonl{'.gz' if compressed else ''}"
        self._limit, self._interval_s = records_per_flush, seconds_per_flush
        self._next_flush_s = self._interval_s
        self._pending: list[Record] = []
        self._encode_lines = msgspec.json.Encoder().encode_lines
        self._file = fresh(self.path)
        # No name and no time inside: equal records make equal files.
        self._sink: IO[bytes] = (
            cast(IO[bytes], gzip.GzipFile("", "wb", 1, self._file, mtime=0))
            if compressed
            else self._file
        )
        header = _Header(VERSION, rank, Span._fields, Update._fields)
        self._write([_Line(header=header)])

    def span(self, span: Span) -> None:
        """Write one effect, at the latest when `records_per_flush` have come together."""
        self._pending.append(span)
        if len(self._pending) >= self._limit:
            self.flush()

    def update(self, time_s: float, update: Update) -> None:
        """Write one update."""
        self._pending.append(Applied(time_s, update))
        if len(self._pending) >= self._limit or time_s >= self._next_flush_s:
            self._next_flush_s = time_s + self._interval_s
            self.flush()

    def flush(self) -> None:
        """Hand everything so far to the operating system. Raises RunError if it takes nothing more.

        What comes after that is not kept.
        """
        pending, self._pending = self._pending, []
        if self._file.closed:
            return
        self._write(map(_line, pending))
        try:
            self._sink.flush()
            self._file.flush()
        except OSError as error:
            raise self._given_up(error) from error

    def close(self) -> None:
        """Write what is left and close the file; a second call does nothing."""
        if self._file.closed:
            return
        self.flush()
        try:
            self._sink.close()
            self._file.close()
        except OSError as error:
            raise self._given_up(error) from error

    def _write(self, lines: Iterable[_Line]) -> None:
        try:
            self._sink.write(self._encode_lines(lines))
        except OSError as error:
            raise self._given_up(error) from error

    def _given_up(self, error: OSError) -> RunError:
        for file in (self._sink, self._file):
            # It would write what it still holds.
            with suppress(OSError, ValueError):
                file.close()
        return RunError(
            f"{self.path} cannot be written: {error.strerror}. Make room, or keep no records"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_records(path: Path | str) -> Iterator[Record]:
    """The records of one file, or of all record files of a directory, one file after another.

    Raises UsageError where there is no record file, or what is there is not one.
    """
    for file in _files(Path(path)):
        yield from _read(file)


def files_by_life(directory: Path) -> dict[tuple[int, int], Path]:
    """The record files of a directory by (rank, incarnation), ascending."""
    named = [(_NAME.fullmatch(file.name), file) for file in directory.iterdir()]
    return dict(sorted(((int(name[1]), int(name[2] or 0)), file) for name, file in named if name))


def _line(record: Record) -> _Line:
    return _Line(span=record) if isinstance(record, Span) else _Line(update=record)


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    files = list(files_by_life(path).values())
    if not files:
        raise UsageError(f"{path} has no records-*.jsonl. Name a directory that a run recorded to")
    return files


def _read(path: Path) -> Iterator[Record]:
    decode = msgspec.json.Decoder(_Line).decode
    for number, text in enumerate(_whole_lines(path), start=1):
        try:
            line = decode(text)
        except msgspec.DecodeError as error:
            raise UsageError(f"{path}, line {number}, is not a record: {error}") from error
        if number == 1 and (line.header is None or line.header.version != VERSION):
            raise _no_header(path)
        record = line.span or line.update
        if record is not None:
            yield record


def _no_header(path: Path) -> UsageError:
    return UsageError(
        f"{path} does not begin with a header of version {VERSION}. "
        "Read it with the version of dualrt that wrote it"
    )


def _whole_lines(path: Path) -> Iterator[bytes]:
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            for number, line in enumerate(file):
                if not line.endswith(b"\n"):
                    # What a crash cut short begins as all do.
                    if not number and line[: len(_BEGINS)] != _BEGINS[: len(line)]:
                        raise _no_header(path)
                    return
                yield line
    except EOFError:
        # A compressed file that a crash cut short; its whole lines have been given.
        return
    except (OSError, zlib.error) as error:
        raise UsageError(f"{path} cannot be read as a file of records: {error}") from error
