"""Settings: the keyword arguments that a scenario gives to a class it names.

Owns finding the class and checking its settings against its constructor, whose keyword-only
parameters they are. Must not know what the class does.
"""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Collection, Mapping
from functools import partial
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError

from dualrt.core.errors import MissingExtraError, ScenarioError, UsageError
from dualrt.core.names import find, nearest
from dualrt.scenario import Scenario
from dualrt.scenario.quantities import LARGEST_INTEGER


def find_class(scenario: Scenario, key: str, name: str, built_in: Mapping[str, str]) -> type[Any]:
    """The class called `name`: a built-in one, or `module:Class`.

    A module is looked for where Python does, beside the scenario's file, and in the current
    directory. Raises ScenarioError for a name that leads nowhere; errors inside the module pass
    through.
    """
    target = built_in.get(name, name)
    if ":" not in target:
        known = tuple(built_in)
        raise scenario.error(
            key,
            "there is none of that name",
            f"{nearest(name, known)}There are: {', '.join(known)}, and module:Class.",
        )
    for folder in (str(Path(scenario.folder).resolve()), str(Path.cwd())):
        if folder not in sys.path:
            sys.path.append(folder)
    try:
        found: type[Any] = find(target, "class", inspect.isclass, partial(scenario.error, key))
    except ModuleNotFoundError as error:
        if error.name == "torch":
            raise MissingExtraError("torch", "train", f"{key} = {name!r}") from error
        raise
    return found


def check_settings(
    scenario: Scenario, key: str, cls: type[Any], reserved: Collection[str] = ()
) -> dict[str, Any]:
    """The settings under the table `key`, checked and converted as the constructor declares them.

    `reserved` parameters are filled in by whoever builds the class. Raises ScenarioError for a
    setting that is unknown, missing, or of another type.
    """
    table: dict[str, Any] = dict(getattr(scenario, key).settings)
    try:
        signature = inspect.signature(cls)
    except ValueError:
        raise scenario.error(
            f"{key}.name",
            f"the constructor of {cls.__name__} does not tell its parameters",
            "Name a class that is written in Python.",
        ) from None
    accepted = {
        parameter.name: parameter
        for parameter in signature.parameters.values()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY and parameter.name not in reserved
    }
    listed = f"Its settings are: {', '.join(accepted)}." if accepted else "It has no settings."
    for name in table:
        if name not in accepted:
            hint = nearest(name, tuple(accepted))
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
        name: _converted(
            scenario, f"{key}.{name}", hints.get(name, Any), accepted[name].default, value
        )
        for name, value in table.items()
    }


def _converted(scenario: Scenario, key: str, hint: Any, default: object, value: object) -> Any:
    """The value as the type that the constructor declares.

    Strictly: a number is no string that looks like one. As JSON, where a list may be a tuple.
    """
    if isinstance(value, int) and abs(value) > LARGEST_INTEGER:
        raise scenario.error(
            key, "is no integer of 64 bits", f"Choose one of at most {LARGEST_INTEGER}."
        )
    try:
        return TypeAdapter(hint).validate_json(json.dumps(value, default=str), strict=True)
    except ValidationError as error:
        first, *others = error.errors()
        inside = ".".join(map(str, first["loc"]))
        problem = first["msg"].removeprefix("Input ")
        if others and get_origin(hint) in {Union, UnionType}:
            # One error for each of the types, under the type's name.
            inside, problem = "", "is none of what it may be"
        usual = "" if default is inspect.Parameter.empty else f", by default {default!r}"
        raise scenario.error(
            f"{key}.{inside}" if inside else key,
            problem,
            f"What belongs here: {_type_name(hint)}{usual}.",
        ) from None


def _type_name(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) else str(hint).replace("typing.", "")


def as_scenario_error(
    scenario: Scenario,
    key: str,
    error: UsageError,
    table: str = "",
    settings: Mapping[str, object] | None = None,
) -> UsageError:
    """A UsageError with the scenario's file and key put before it.

    An error that opens with one of the `settings` and its value ("dtype = 'float16': ...") is about
    that key of `table`, any other about `key`. What names its file and key already, or an extra to
    install, stays as it is.
    """
    if isinstance(error, ScenarioError | MissingExtraError):
        return error
    text = str(error)
    for name, value in (settings or {}).items():
        said = f"{name} = {value!r}"
        if text.startswith(said):
            key, text = f"{table}.{name}", text.removeprefix(said).lstrip(": ")
    # Problem and remedy are two sentences, or two halves of one.
    text = text.rstrip(".")
    problem, _, remedy = text.partition(". " if ". " in text else "; ")
    remedy = f"{remedy[:1].upper()}{remedy[1:]}." if remedy else "Correct it."
    return scenario.error(key, problem, remedy)
