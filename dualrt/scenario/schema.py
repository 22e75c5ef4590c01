"""Schema: the JSON schema of a scenario file, for editors and for reference.

Owns the difference between a file and a loaded `Scenario`: a file may leave its cluster to a
description, or to the default.
"""

from __future__ import annotations

from typing import Any

from dualrt.scenario.models import Scenario


def json_schema() -> dict[str, Any]:
    """The JSON schema (draft 2020-12) that a scenario's TOML satisfies."""
    schema = Scenario.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "dualrt scenario"
    schema["required"].remove("cluster")
    cluster = schema["$defs"]["Cluster"]
    cluster["anyOf"] = [{"required": ["file"]}, {"required": cluster.pop("required")}]
    return schema
