"""Reading: from a file's name to the table that it holds.

Owns everything that can go wrong before a single key is looked at: no such file, not a text, not
TOML. Must not know which keys there are.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from dualrt.core.errors import ScenarioError
from dualrt.core.names import nearest
from dualrt.scenario import shipped
from dualrt.scenario.keys import Table


def locate(path: str | Path, kind: shipped.Kind = "sims", called: str = "scenario") -> Path:
    """The file at `path`, or else what is shipped of that kind and name.

    `called` is what an error calls it. Raises ScenarioError if there is neither.
    """
    if is_file(Path(path)):
        return Path(path)
    found = shipped.find(kind, str(path))
    if found is None:
        known = shipped.names(kind)
        raise ScenarioError(
            str(path),
            "",
            None,
            f"there is no such {called}: neither the file {absolute(Path(path))} nor one shipped "
            "with dualrt",
            f"{nearest(str(path), known)}Shipped are: {', '.join(known)}.",
        )
    return found


def read(file: Path) -> Table:
    """The table in a TOML file.

    Raises ScenarioError, with line and column, if it does not hold one.
    """
    try:
        text = file.read_bytes().decode()
    except OSError as error:
        raise ScenarioError(
            str(file), "", None, f"cannot be read: {error.strerror}", "Name a readable file."
        ) from error
    except UnicodeDecodeError as error:
        raise ScenarioError(
            str(file), "", None, f"is not UTF-8 text, at byte {error.start}", "Save it as UTF-8."
        ) from error
    try:
        return tomllib.loads(text)
    except ValueError as error:
        raise _syntax_error(file, text, str(error)) from error


def is_file(path: Path) -> bool:
    """`Path.is_file`, for a name that may be no name at all (too long, say)."""
    try:
        return path.is_file()
    except OSError:
        return False


def absolute(path: Path) -> Path:
    """Where a relative path leads, whether or not there is anything."""
    return Path.cwd() / path


def _syntax_error(file: Path, text: str, message: str) -> ScenarioError:
    """The parser's message, with the place as editors write it and the line itself."""
    lines = text.splitlines() or [""]
    place = re.search(r" ?\(at line (\d+), column (\d+)\)", message)
    line, column = (int(place[1]), int(place[2])) if place else (len(lines), len(lines[-1]) + 1)
    problem = re.sub(r" ?\(at [^)]*\)", "", message)
    return ScenarioError(
        f"{file}:{line}:{column}",
        "",
        None,
        f"is not TOML: {problem[:1].lower()}{problem[1:]}",
        f"The line reads: {lines[min(line, len(lines)) - 1]}",
    )
