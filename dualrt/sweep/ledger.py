"""Ledger: the file that a sweep keeps its rows in, so that it can be gone on with.

Owns the file's columns: one for each swept key, then the scenario's hash, the figures and why a run
failed; a row a run. Must not know how rows are made, nor how they are written down.

A swept key's column holds values as they were written on the command line; where columns have
types, as numbers if all of them come back to the letter.

The file is whole at any time: each new row is written with all others under a temporary name, which
is then renamed. A sweep has read it once and writes all that it knows, so there is one at a time.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Self, get_args, get_type_hints

import msgspec

from dualrt.core.errors import RunError, UsageError
from dualrt.scenario.quantities import LARGEST_INTEGER
from dualrt.sweep import lock
from dualrt.sweep.rows import Figures, Row, flat
from dualrt.sweep.tables import Cells, Form, form_of

_FIGURES: Mapping[str, type] = {
    # The type of `float | None` is float.
    name: (get_args(hint) or (hint,))[0]
    for name, hint in get_type_hints(Figures).items()
}


class Ledger:
    """The rows in a file, which need not be there yet; its suffix says CSV or Parquet.

    Raises UsageError if it holds anything but a sweep over `keys`, or is neither.
    """

    @classmethod
    @contextmanager
    def alone(
        cls, file: Path, keys: Sequence[str], on_warning: Callable[[str], None] | None = None
    ) -> Iterator[Self]:
        """The same, and nobody else's for as long as the context lasts.

        Raises UsageError if another sweep has it, or nothing can be written there.
        """
        _check(file)
        with ExitStack() as stack:
            try:
                locked = stack.enter_context(lock.alone(file))
            except lock.HeldError:
                raise UsageError(
                    f"--out {file}: another sweep is at work on it. Wait for its end, or name "
                    "another file"
                ) from None
            except OSError as error:
                raise _unwritable(file, error) from error
            if not locked and on_warning is not None:
                on_warning(
                    f"--out {file}: its file system has no locks. Let no other sweep write to it "
                    "meanwhile: rows would be lost"
                )
            yield cls(file, keys)

    def __init__(self, file: Path, keys: Sequence[str]) -> None:
        self._file, self._keys = file, tuple(keys)
        self._form = _check(file)
        self._unfinished = file.with_name(f"{file.name}.part")
        self._rows = {self._place(row): row for row in self._read()} if file.exists() else {}

    def find(self, row: Row) -> Row | None:
        """The finished row of this combination, if there is one.

        Raises UsageError if it was made of another scenario.
        """
        found = self._rows.get(self._place(row))
        if found is None or found.figures is None:
            return None
        if found.scenario != row.scenario:
            combination = ", ".join(f"{key}={text}" for key, text in row.combination.items())
            raise UsageError(
                f"--out {self._file}: its row {combination} was made of another scenario. Name a "
                "new file, or remove this one"
            )
        return found

    def check_writable(self) -> None:
        """Raise UsageError if no row could be kept."""
        try:
            self._unfinished.open("wb").close()
            self._unfinished.unlink()
        except OSError as error:
            raise _unwritable(self._file, error) from error

    def add(self, row: Row) -> None:
        """Keep a row, in place of an earlier one of its combination.

        Raises RunError if that cannot be done; what was kept before still is.
        """
        self._rows[self._place(row)] = row
        rows = list(self._rows.values())
        kinds = {key: _kind([row.combination[key] for row in rows]) for key in self._keys}
        columns = {**kinds, "scenario": str, **_FIGURES, "failed": str}
        try:
            self._form.write(
                self._unfinished, columns, [flat(row, row.combination) for row in rows]
            )
            with self._unfinished.open("rb") as written:
                os.fsync(written.fileno())
            self._unfinished.replace(self._file)
        except (OSError, OverflowError) as error:
            with suppress(OSError):
                self._unfinished.unlink()
            raise RunError(
                f"--out {self._file}: a row cannot be kept: {error}. What was kept before is there "
                "still: make room, and give the same command again"
            ) from error

    def _place(self, row: Row) -> tuple[str, ...]:
        return tuple(row.combination[key] for key in self._keys)

    def _read(self) -> list[Row]:
        columns, rows = self._form.read(self._file)
        if columns != [*self._keys, "scenario", *_FIGURES, "failed"]:
            raise UsageError(
                f"--out {self._file}: it holds something else than a sweep over "
                f"{', '.join(self._keys)}, or one of another version of dualrt. Name a new file, "
                "or remove this one"
            )
        try:
            return [self._row(cells) for cells in rows]
        except msgspec.ValidationError as error:
            raise UsageError(
                f"--out {self._file}: it cannot be read as a sweep: {error}. Name a new file"
            ) from error

    def _row(self, cells: Cells) -> Row:
        combination = {key: _text(cells[key]) for key in self._keys}
        if cells["failed"]:
            return Row(combination, cells["scenario"], None, cells["failed"])
        figures = msgspec.convert({name: cells[name] for name in _FIGURES}, Figures, strict=False)
        return Row(combination, cells["scenario"], figures)


def _check(file: Path) -> Form:
    """How it is written. Raises UsageError for a name that is none, or a folder that is not."""
    form = form_of(file)
    if not file.parent.is_dir():
        raise UsageError(f"--out {file}: there is no folder {file.parent}. Make it first")
    return form


def _unwritable(file: Path, error: OSError) -> UsageError:
    return UsageError(
        f"--out {file}: nothing can be written beside it: {error.strerror}: {error.filename}. Name "
        "a file elsewhere"
    )


def _kind(texts: Sequence[str]) -> type:
    """What all these texts are: the first type that gives each back to the letter."""
    for kind in (int, float):
        try:
            values = [kind(text) for text in texts]
        except ValueError:
            continue
        # No column holds larger integers.
        fit = kind is float or all(abs(value) <= LARGEST_INTEGER for value in values)
        if fit and all(map(str.__eq__, map(_text, values), texts)):
            return kind
    return str


def _text(value: Any) -> str:
    """A value as it was written."""
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)
