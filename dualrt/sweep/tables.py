"""Tables: the forms of a file that rows can be kept in, chosen by the file's suffix.

Owns the reading and writing of rows of cells, as CSV (UTF-8, an empty cell for what is unknown) or
as Parquet (typed columns, null for what is unknown). Must not know what the columns mean.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from dualrt.core.errors import MissingExtraError, UsageError

Columns: TypeAlias = Mapping[str, type]
"""Name of each column, and the type of its cells, int, float or str; each may be unknown."""

Cells: TypeAlias = dict[str, Any]


class Form(Protocol):
    """One form of file."""

    def read(self, file: Path) -> tuple[list[str], list[Cells]]:
        """The columns' names, and the rows; a cell may be text whatever its column's type.

        Raises UsageError if that cannot be done.
        """

    def write(self, file: Path, columns: Columns, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write all rows. A row may lack cells; a cell may be the text of a value."""


def form_of(file: Path) -> Form:
    """How a file of this name is written.

    Raises UsageError for an unknown suffix, MissingExtraError for Parquet without pyarrow.
    """
    match file.suffix:
        case ".csv":
            return Csv()
        case ".parquet":
            if find_spec("pyarrow") is None:
                raise MissingExtraError("pyarrow", "parquet", f"--out {file}")
            return Parquet()
        case _:
            raise UsageError(f"--out {file}: its name must end in .csv or .parquet")


class Csv:
    """Comma-separated values."""

    def read(self, file: Path) -> tuple[list[str], list[Cells]]:
        """See `Form`."""
        try:
            with file.open(encoding="utf-8", newline="") as text:
                reader = csv.DictReader(text, strict=True)
                rows = [{key: cell or None for key, cell in row.items()} for row in reader]
                return list(reader.fieldnames or ()), rows
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise _unreadable(file, error) from error

    def write(self, file: Path, columns: Columns, rows: Sequence[Mapping[str, Any]]) -> None:
        """See `Form`."""
        with file.open("w", encoding="utf-8", newline="") as text:
            writer = csv.DictWriter(text, list(columns), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


class Parquet:
    """Apache Parquet, by pyarrow."""

    def read(self, file: Path) -> tuple[list[str], list[Cells]]:
        """See `Form`."""
        import pyarrow
        from pyarrow import parquet

        try:
            # One file, and no folder of them whose names say something.
            table = parquet.ParquetFile(file).read()
        except (OSError, pyarrow.ArrowException) as error:
            raise _unreadable(file, error) from error
        return table.column_names, table.to_pylist()

    def write(self, file: Path, columns: Columns, rows: Sequence[Mapping[str, Any]]) -> None:
        """See `Form`."""
        import pyarrow
        from pyarrow import parquet

        types = {int: pyarrow.int64(), float: pyarrow.float64(), str: pyarrow.string()}
        schema = pyarrow.schema([(name, types[kind]) for name, kind in columns.items()])
        cells = [
            {name: kind(row[name]) for name, kind in columns.items() if row.get(name) is not None}
            for row in rows
        ]
        parquet.write_table(pyarrow.Table.from_pylist(cells, schema), file)


def _unreadable(file: Path, error: Exception) -> UsageError:
    return UsageError(f"--out {file}: it cannot be read as a sweep: {error}. Name a new file")
