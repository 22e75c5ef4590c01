"""Overrides: `--set key.sub=value`, which may set any key of a scenario.

Owns how the text of one option becomes a change to nested tables. Must not know which keys there
are: a wrong key is found when the whole is validated, like one in the file.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, NamedTuple

from dualrt.core.errors import ScenarioError
from dualrt.scenario.keys import Table

_OPENERS = ("[", "{", '"', "'")


class Override(NamedTuple):
    """One option, taken apart."""

    option: str
    """As it was written: "--set learners=8"."""
    source: str
    """The scenario and the option, as errors name them."""
    key: str
    value: Any


def parse(text: str, file: Path) -> Override:
    """Take `key.sub=value`, meant for `file`, apart; the value is TOML, a bare word is a string.

    Raises ScenarioError if there is no key, or the value opens a bracket or a quote in vain.
    """
    option = f"--set {text}"
    source = f"{file} with {option}"
    key, equals, value = text.partition("=")
    parts = [part.strip() for part in key.split(".")]
    if not equals or not all(parts):
        problem = "does not have the form key=value" if not equals else "names no key"
        raise ScenarioError(
            source, "", None, problem, "Write the dotted key first: --set training.epochs=2."
        )
    name = ".".join(parts)
    return Override(option, source, name, _value(source, name, value.strip()))


def apply(table: Table, override: Override) -> None:
    """Set one key in `table`, making the tables that lead to it.

    A number steps into a list. Raises ScenarioError where the way is barred by another value.
    """
    *way, last = override.key.split(".")
    node: Any = table
    for depth, part in enumerate(way):
        if isinstance(node, dict):
            node = node.setdefault(part, {})
        else:
            node = node[_index(node, part, override, way[:depth])]
    if isinstance(node, dict):
        node[last] = override.value
    else:
        node[_index(node, last, override, way)] = override.value


def _value(source: str, key: str, text: str) -> object:
    try:
        parsed = tomllib.loads(f"value = {text}")
    except ValueError as error:
        if text.startswith(_OPENERS):
            raise ScenarioError(
                source,
                key,
                text,
                f"the value is not TOML ({error})",
                "Close every bracket and quote, and quote the whole option in the shell.",
            ) from error
        return text
    # A line break would smuggle in further keys; such text is a string like any other.
    return parsed["value"] if parsed.keys() == {"value"} else text


def _index(node: object, part: str, override: Override, way: list[str]) -> int:
    """`part` as an index into `node`, which is no table."""
    if not isinstance(node, list):
        problem = f"cannot be set: `{'.'.join(way)}` is {node!r}, which has no keys"
        remedy = f"Set `{'.'.join(way)}` itself, to a table."
    elif not part.isdecimal() or int(part) >= len(node):
        problem = f"`{part}` is not the position of an item of `{'.'.join(way)}`"
        remedy = f"Count from 0, up to {len(node) - 1}." if node else "The list is empty: set it."
    else:
        return int(part)
    raise ScenarioError(override.source, override.key, override.value, problem, remedy)
