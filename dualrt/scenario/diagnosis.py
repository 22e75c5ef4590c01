"""Diagnosis: from what pydantic found to the one error that tells a person what to write.

Owns the wording of validation errors. Must not know a particular table: descriptions and allowed
keys come from the same JSON schema that is published.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from dualrt.core.errors import ScenarioError
from dualrt.core.names import nearest
from dualrt.scenario.keys import MISSING, is_within
from dualrt.scenario.origin import Origin

Node = dict[str, Any]
"""A part of a JSON schema."""

_PROBLEMS = {
    "extra_forbidden": "is not a known key",
    "missing": "is required",
    "union_tag_not_found": "is required",
    "union_tag_invalid": "is not a known kind",
    "model_type": "should be a table",
    "model_attributes_type": "should be a table",
    "dict_type": "should be a table",
    "tuple_type": "should be a list",
}
"""Where pydantic's own words speak of Python, or at length."""

MORE = 4
"""How many further findings are listed."""

_ORDER = {"extra_forbidden": 0, "missing": 2}


class Finding(NamedTuple):
    """One thing that is wrong: what an error needs, its source apart."""

    key: str
    value: object
    problem: str
    remedy: str


class Place(NamedTuple):
    """Where pydantic points: the dotted key, its schema, and the schema of the table around it."""

    key: str
    node: Node
    around: Node


def translate(error: ValidationError, model: type[BaseModel], origin: Origin) -> ScenarioError:
    """The first finding in full, and the further ones in brief.

    Unknown keys come first, missing ones last: a misspelt key is the likely reason why another is
    missing.
    """
    schema = model.model_json_schema()
    details = sorted(error.errors(), key=lambda detail: _ORDER.get(detail["type"], 1))
    findings = [_finding(detail, schema) for detail in details]
    # A list whose only item is wrong is also called empty; that is no second mistake.
    first, *others = (one for one in findings if not _inside(findings, one.key))
    also = [f"`{other.key}` {other.problem}" for other in others[:MORE]]
    if len(others) > MORE:
        also.append(f"and {len(others) - MORE} more")
    remedy = f"{first.remedy} Also wrong: {'; '.join(also)}." if also else first.remedy
    return origin.error(first.key, first.value, first.problem, remedy)


def _inside(findings: list[Finding], key: str) -> bool:
    """Whether something is wrong below `key`."""
    return any(one.key != key and is_within(one.key, key) for one in findings)


def _finding(detail: ErrorDetails, schema: Node) -> Finding:
    place = _place(schema, detail["loc"])
    key, value, problem = place.key, detail["input"], _problem(detail)
    match detail["type"]:
        case "extra_forbidden":
            known = tuple(place.around.get("properties", ()))
            hint = nearest(key.rpartition(".")[2], known)
            remedy = hint.rstrip() or f"The keys allowed here are: {', '.join(known)}."
        case "missing":
            value, remedy = MISSING, f"Add it: {_meaning(place.node)}"
        case "union_tag_not_found" | "union_tag_invalid":
            # Pydantic points at the table; the mistake is in the key that tells its kind.
            key = f"{key}.kind"
            kinds = tuple(place.node["discriminator"]["mapping"])
            value = value.get("kind", MISSING) if isinstance(value, Mapping) else value
            remedy = f"{nearest(str(value), kinds)}The kinds are: {', '.join(kinds)}."
        case _:
            hint = nearest(str(value), tuple(map(str, place.node.get("enum", ()))))
            remedy = f"{hint}What belongs here: {_meaning(place.node)}"
    return Finding(key, value, problem, remedy)


def _problem(detail: ErrorDetails) -> str:
    own = re.sub(r"^\w+ (?=should )|^Value error, | after validation, not \d+$", "", detail["msg"])
    # A bound of 1e30 is printed as an integer, in all its digits.
    own = re.sub(r"\d{20,}", lambda found: f"{float(found[0]):g}", own)
    return _PROBLEMS.get(detail["type"], own)


def _place(schema: Node, location: tuple[int | str, ...]) -> Place:
    """Follow pydantic's location, which also names the chosen kind of a union, into the schema."""
    keys: list[str] = []
    node = around = schema
    for part in location:
        if "discriminator" in node:
            node = _resolved({"$ref": node["discriminator"]["mapping"][part]}, schema)
            continue
        keys.append(str(part))
        around, node = node, _resolved(_child(node, part), schema)
        node.setdefault("description", _meaning(around))
    return Place(".".join(keys), node, around)


def _child(node: Node, part: int | str) -> Node:
    child: object
    if isinstance(part, int):
        fixed = node.get("prefixItems", ())
        child = fixed[part] if part < len(fixed) else node.get("items")
    else:
        child = node.get("properties", {}).get(part) or node.get("additionalProperties")
    return child if isinstance(child, dict) else {}


def _resolved(node: Node, schema: Node) -> Node:
    """What a reference refers to, or an optional value is, with the description given here."""
    for option in node.get("anyOf", ()):
        if option.get("type") != "null":
            return {**_resolved(option, schema), **node}
    if "$ref" in node:
        target: Node = schema["$defs"][node["$ref"].rpartition("/")[2]]
        return {**target, **node}
    return dict(node)


def _meaning(node: Node) -> str:
    return str(node.get("description", ""))
