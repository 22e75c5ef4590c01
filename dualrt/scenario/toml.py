"""TOML: writing what the standard library can only read.

Owns the text form of nested tables: whatever `tomllib` returns comes back equal. Must not know
what the tables mean.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import date, datetime, time
from typing import Any

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def dumps(table: Mapping[str, Any]) -> str:
    """The text of a TOML document.

    Values may be what TOML has: strings, numbers, booleans, dates and times, lists (or tuples) and
    tables. Raises TypeError for anything else.
    """
    return "\n".join(_table(table, "")).lstrip("\n") + "\n"


def _table(table: Mapping[str, Any], path: str) -> Iterator[str]:
    """Plain values first: after a sub-table's heading they would belong to that."""
    tables = {name: value for name, value in table.items() if isinstance(value, Mapping)}
    if path and (len(tables) < len(table) or not table):
        yield f"\n[{path}]"
    for name, value in table.items():
        if name not in tables:
            yield f"{_key(name)} = {_value(value)}"
    for name, value in tables.items():
        yield from _table(value, f"{path}.{_key(name)}" if path else _key(name))


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _string(name)


def _string(text: str) -> str:
    # JSON's escapes are TOML's, except that TOML also wants DEL escaped.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _value(value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return _string(value)
        case int() | float():
            return repr(value)  # also inf and nan, which are TOML's own words
        case datetime() | date() | time():
            return value.isoformat()
        case list() | tuple():
            return f"[{', '.join(map(_value, value))}]"
        case Mapping():
            return f"{{{', '.join(f'{_key(k)} = {_value(v)}' for k, v in value.items())}}}"
        case _:
            raise TypeError(f"TOML has no {type(value).__name__}: {value!r}")
