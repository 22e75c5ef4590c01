"""Axes: the keys that a sweep varies, and the combinations of their values.

Owns the text form `key=v1,v2`. Must not know which keys there are: each combination is a list of
`--set` options, and whoever loads the scenario with it finds what is wrong.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TypeAlias

from dualrt.core.errors import UsageError
from dualrt.scenario import overrides

Combination: TypeAlias = Mapping[str, str]
"""The text of each swept key's value, in the order of the axes."""

_BRACKETS = {"[": 1, "{": 1, "]": -1, "}": -1}


@dataclass(frozen=True, slots=True)
class Axis:
    """A key and the values that it takes, as they were written."""

    key: str
    texts: tuple[str, ...]

    @classmethod
    def parse(cls, option: str) -> Axis:
        """Take `key=v1,v2` apart; a comma inside brackets or quotes belongs to its value.

        Raises UsageError if there is no key, or a value is missing or there twice.
        """
        key, equals, listed = option.partition("=")
        texts = tuple(text.strip() for text in _split(listed))
        key = key.strip()
        where = f"--over {option}: "
        if not equals or not key:
            raise UsageError(
                f"{where}does not have the form key=v1,v2. "
                "Write the dotted key first: --over seed=1,2,3"
            )
        if not all(texts):
            raise UsageError(f"{where}a value is missing. Write one on each side of each comma")
        twice = [text for place, text in enumerate(texts) if text in texts[:place]]
        if twice:
            raise UsageError(f"{where}{twice[0]} is there twice. Leave one out")
        return cls(key, texts)

    @property
    def values(self) -> tuple[object, ...]:
        """The values as TOML, or as bare words."""
        return tuple(overrides.parse(f"{self.key}={text}", Path()).value for text in self.texts)


def combinations(axes: Sequence[Axis]) -> list[Combination]:
    """All combinations; the last axis varies fastest. Raises UsageError for a key given twice."""
    keys = [axis.key for axis in axes]
    for place, key in enumerate(keys):
        if key in keys[:place]:
            raise UsageError(f"--over {key} is there twice. Put all its values into one")
    return [dict(zip(keys, texts, strict=True)) for texts in product(*(a.texts for a in axes))]


def options(combination: Combination) -> list[str]:
    """The combination as texts of `--set` options."""
    return [f"{key}={text}" for key, text in combination.items()]


def _split(listed: str) -> Iterator[str]:
    """Split at commas outside brackets and quotes."""
    depth, quote, start = 0, "", 0
    for place, sign in enumerate(listed):
        if quote:
            quote = "" if sign == quote else quote
        elif sign in "\"'":
            quote = sign
        elif sign in _BRACKETS:
            depth += _BRACKETS[sign]
        elif sign == "," and not depth:
            yield listed[start:place]
            start = place + 1
    yield listed[start:]
