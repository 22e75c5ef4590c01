"""Names that people write: what is meant by one that is not known, and where `module:name` leads.

Owns both. Must not know what the names are of: whoever asks says which error is to be raised.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import Any

from dualrt.core.errors import UsageError


def nearest(word: str, known: Sequence[str]) -> str:
    """ "Did you mean ...? " if one of the known words is close, else nothing."""
    close = get_close_matches(word, known, n=1)
    return f"Did you mean {close[0]!r}? " if close else ""


def find(
    name: str, kind: str, fits: Callable[[Any], bool], refused: Callable[[str, str], UsageError]
) -> Any:
    """What is meant by `package.module:name`: a `kind` of thing, which `fits` knows.

    Raises what `refused` makes of a problem and its remedy for a name that leads nowhere; errors
    inside the module pass through.
    """
    where, _, what = name.partition(":")
    if not (what and all(where.split("."))):
        raise refused(
            f"it does not name a module, and a {kind} in it",
            "Write module:name, or package.module:name.",
        )
    try:
        module = importlib.import_module(where)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{where}.".startswith(f"{error.name}."):
            raise
        raise refused(
            f"there is no module {where!r} on Python's path, beside the scenario or here",
            "Put the file beside the scenario or into this folder, or install its package.",
        ) from None
    found = getattr(module, what, None)
    if not fits(found):
        others = [other for other, value in vars(module).items() if fits(value)]
        raise refused(
            f"module {where!r} has no {kind} {what!r}",
            f"{nearest(what, others)}Name a {kind} that it has.",
        )
    return found
