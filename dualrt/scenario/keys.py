"""Keys: the dotted names by which people and errors speak of one value in nested tables.

Owns `a.b.0.c` as a path through tables and lists. Must not know what any key means.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Table = dict[str, Any]


class _Missing:
    """What an error shows as the value of a key that is not there."""

    def __repr__(self) -> str:
        return "(not given)"


MISSING = _Missing()


def lookup(table: Mapping[str, Any], key: str) -> object:
    """The value at a dotted key, or `MISSING`."""
    node: object = table
    for part in key.split("."):
        if isinstance(node, Mapping) and part in node:
            node = node[part]
        elif isinstance(node, list | tuple) and part.isdecimal() and int(part) < len(node):
            node = node[int(part)]
        else:
            return MISSING
    return node


def leaves(table: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Dotted keys of all values that are no tables, in the order of the file; lists count as one.

    An empty table counts as a value: somebody wrote it.
    """
    for name, value in table.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name


def overlay(below: Table, above: Table) -> Table:
    """`above` laid over `below`: tables are joined key by key, any other value replaces."""
    joined = dict(below)
    for name, value in above.items():
        lower = joined.get(name)
        if isinstance(lower, dict) and isinstance(value, dict):
            joined[name] = overlay(lower, value)
        else:
            joined[name] = value
    return joined


def is_within(key: str, ancestor: str) -> bool:
    """Whether `key` is `ancestor` or lies below it."""
    return f"{key}.".startswith(f"{ancestor}.")
