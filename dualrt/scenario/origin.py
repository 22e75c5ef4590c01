"""Origin: which file, or which option of the command line, a scenario's values came from.

Owns the answer to "where do I correct this?". Must not know what a value means.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dualrt.core.errors import ScenarioError
from dualrt.scenario.keys import is_within


@dataclass(frozen=True, slots=True)
class Origin:
    """Where values came from.

    `file` is the file, `options` maps each dotted key that the command line set to the option as
    it was written, and `given` lists the dotted keys that file and options set. Relative paths
    start in `folder`, by default the file's.
    """

    file: Path
    options: Mapping[str, str] = field(default_factory=dict)
    given: tuple[str, ...] = ()
    folder: Path | None = None

    def of(self, key: str) -> str:
        """Where the value at a dotted key was written."""
        last = [option for name, option in self.options.items() if is_within(key, name)][-1:]
        return " with ".join([str(self.file), *last])

    def error(self, key: str, value: object, problem: str, remedy: str) -> ScenarioError:
        """The error that says what is wrong with the value at `key`, and where it stands."""
        return ScenarioError(self.of(key), key, value, problem, remedy)
