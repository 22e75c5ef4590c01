"""Ledger: the CSV file that a sweep keeps its rows in, so that it can be gone on with.

Owns the file's form: a column for each swept key, then the scenario's hash, the figures and why a
run failed; a row a run, UTF-8, an empty cell for what is unknown. Must not know how rows are made.

The file is whole at any time: each new row is written with all others under a temporary name, which
is then renamed.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import msgspec

from dualrt.core.errors import UsageError
from dualrt.sweep.rows import Figures, Row, flat

_FIGURES = [field.name for field in fields(Figures)]


class Ledger:
    """The rows in a file, which need not be there yet.

    Raises UsageError if it holds anything but a sweep over `keys`.
    """

    def __init__(self, file: Path, keys: Sequence[str]) -> None:
        self._file, self._keys = file, tuple(keys)
        self._columns = [*keys, "scenario", *_FIGURES, "failed"]
        if not file.parent.is_dir():
            raise UsageError(f"--out {file}: there is no folder {file.parent}. Make it first")
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

    def add(self, row: Row) -> None:
        """Keep a row, in place of an earlier one of its combination."""
        self._rows[self._place(row)] = row
        unfinished = self._file.with_name(f"{self._file.name}.part")
        with unfinished.open("w", encoding="utf-8", newline="") as text:
            writer = csv.DictWriter(text, self._columns, lineterminator="\n")
            writer.writeheader()
            writer.writerows(flat(row, row.combination) for row in self._rows.values())
            text.flush()
            os.fsync(text.fileno())
        unfinished.replace(self._file)

    def _place(self, row: Row) -> tuple[str, ...]:
        return tuple(row.combination[key] for key in self._keys)

    def _read(self) -> list[Row]:
        try:
            with self._file.open(encoding="utf-8", newline="") as text:
                reader = csv.DictReader(text, strict=True)
                if reader.fieldnames != self._columns:
                    raise UsageError(
                        f"--out {self._file}: it holds something else than a sweep over "
                        f"{', '.join(self._keys)}. Name a new file, or remove this one"
                    )
                return [self._row(cells) for cells in reader]
        except (OSError, UnicodeDecodeError, csv.Error, msgspec.ValidationError) as error:
            raise UsageError(
                f"--out {self._file}: it cannot be read as a sweep: {error}. Name a new file"
            ) from error

    def _row(self, cells: dict[str, str]) -> Row:
        combination = {key: cells[key] for key in self._keys}
        if cells["failed"]:
            return Row(combination, cells["scenario"], None, cells["failed"])
        known = {name: cells[name] or None for name in _FIGURES}
        figures = msgspec.convert(known, Figures, strict=False)
        return Row(combination, cells["scenario"], figures)
