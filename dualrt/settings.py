"""Settings: the keyword arguments that a scenario gives to a class it names.

Owns finding the class and checking its settings against its constructor, whose keyword-only
parameters they are. Must not know what the class does.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from dualrt.core.errors import MissingExtraError, UsageError
from dualrt.scenario import Scenario


def find_class(scenario: Scenario, key: str, name: str, built_in: Mapping[str, str]) -> type[Any]:
    """The class called `name`: a built-in one, or `module:Class`.

    A module is looked for where Python does, and beside the scenario's file. Raises ScenarioError
    for a name that leads nowhere; errors inside the module pass through.
    """
    target = built_in.get(name, name)
    module_name, colon, class_name = target.partition(":")
    if not colon:
        near = difflib.get_close_matches(name, built_in, n=1)
        hint = f"Did you mean {near[0]!r}? " if near else ""
        known = ", ".join(built_in)
        raise scenario.error(
            key, "there is none of that name", f"{hint}There are: {known}, and module:Class."
        )
    beside = str(Path(scenario.folder).resolve())
    if beside not in sys.path:
        sys.path.append(beside)
    try:
        found = getattr(importlib.import_module(module_name), class_name)
    except ModuleNotFoundError as error:
        if error.name == "torch":
            raise MissingExtraError("torch", "train", f"{key} = {name!r}") from error
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise
        raise scenario.error(
            key,
            f"there is no module {module_name!r} on Python's path or in {beside}",
            "Put the file beside the scenario, or install its package.",
        ) from None
    except AttributeError:
        raise scenario.error(
            key,
            f"module {module_name!r} has no {class_name!r}",
            "Name a class that the module defines.",
        ) from None
    if not inspect.isclass(found):
        raise scenario.error(key, f"{class_name!r} is no class", "Name a class.")
    return found


def check_settings(
    scenario: Scenario, key: str, cls: type[Any], reserved: Collection[str] = ()
) -> dict[str, Any]:
    """The settings under the table `key`, checked and converted as the constructor declares them.

    `reserved` parameters are filled in by whoever builds the class. Raises ScenarioError for a
    setting that is unknown, missing, or of another type.
    """
    table: dict[str, Any] = dict(getattr(scenario, key).settings)
    accepted = {
        parameter.name: parameter
        for parameter in inspect.signature(cls).parameters.values()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY and parameter.name not in reserved
    }
    listed = f"Its settings are: {', '.join(accepted)}." if accepted else "It has no settings."
    for name in table:
        if name not in accepted:
            near = difflib.get_close_matches(name, accepted, n=1)
            hint = f"Did you mean {near[0]!r}? " if near else ""
            raise scenario.error(
                f"{key}.{name}", f"is no setting of {cls.__name__}", f"{hint}{listed}"
            )
    for name, parameter in accepted.items():
        if name not in table and parameter.default is inspect.Parameter.empty:
            raise scenario.error(
                f"{key}.name", f"{cls.__name__} needs {key}.{name}", f"Set {key}.{name}. {listed}"
            )
    hints = get_type_hints(cls.__init__)
    return {
        name: _converted(scenario, f"{key}.{name}", hints.get(name, Any), value)
        for name, value in table.items()
    }


def _converted(scenario: Scenario, key: str, hint: Any, value: object) -> Any:
    try:
        return TypeAdapter(hint).validate_python(value)
    except ValidationError as error:
        problem = error.errors()[0]["msg"]
        raise scenario.error(key, problem, "See the class's documentation.") from None


def as_scenario_error(scenario: Scenario, key: str, error: UsageError) -> UsageError:
    """A UsageError with the scenario's file and key put before it."""
    problem, _, remedy = str(error).rstrip(".").partition(". ")
    return scenario.error(key, problem, remedy + "." if remedy else "Change one of the two.")
