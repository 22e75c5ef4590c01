"""The published JSON schema."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import pytest

from dualrt.scenario import json_schema
from dualrt.scenario.cluster import ClusterDescription, Collectives, Device
from dualrt.sim.cluster import ClusterSpec
from dualrt.sim.collectives import CollectiveSpec
from dualrt.sim.device import DeviceSpec

PUBLISHED = Path(__file__).parents[2] / "docs" / "scenario.schema.json"


def test_the_published_schema_is_current() -> None:
    # When this fails: dualrt schema > docs/scenario.schema.json
    assert json.loads(PUBLISHED.read_text()) == json_schema()


def descriptions(schema: dict[str, Any]) -> dict[str, str]:
    """For every key of every table, what it says, or else what the table that it holds says."""
    tables = {"#": schema, **{f"#/$defs/{name}": node for name, node in schema["$defs"].items()}}
    return {
        f"{table}.{key}": (tables[node["$ref"]] | node if "$ref" in node else node)["description"]
        for table, described in tables.items()
        for key, node in described["properties"].items()
    }


@pytest.mark.parametrize(("key", "text"), descriptions(json_schema()).items())
def test_every_key_is_described_in_a_sentence(key: str, text: str) -> None:
    assert text.endswith("."), key


def test_the_schema_is_json_for_every_reader() -> None:
    json.dumps(json_schema(), allow_nan=False)


def test_a_cluster_is_a_file_or_complete() -> None:
    schema = json_schema()
    assert "cluster" not in schema["required"]
    by_file, complete = schema["$defs"]["Cluster"]["anyOf"]
    assert by_file == {"required": ["file"]}
    assert "servers" in complete["required"]


def test_the_clusters_keys_and_defaults_are_the_simulators() -> None:
    ours = {
        name: MISSING if key.is_required() else key.default
        for name, key in ClusterDescription.model_fields.items()
        if name not in {"title", "source", "collectives", "device", "fitted", "servers_as_needed"}
    }
    # Nothing takes longer for it.
    del ours["price_per_server_hour"]
    # Another way to say rack_bytes_per_s.
    del ours["oversubscription"]
    # The simulator is always told a number, which a description may leave to the learners'.
    ours["gpus_per_server"] = MISSING
    assert ours == {field.name: field.default for field in fields(ClusterSpec)}


def test_the_collectives_keys_and_defaults_are_the_simulators() -> None:
    ours = Collectives.model_fields
    theirs = {field.name: field.default for field in fields(CollectiveSpec)}
    assert ours.keys() == theirs.keys()
    # Left out rather than its default: it is an error where there are no buckets.
    del theirs["bucket_bytes"]
    assert Collectives().fields() == theirs


def test_the_devices_keys_are_the_simulators() -> None:
    assert Device.model_fields.keys() - {"name", "memory_bytes"} == {
        field.name for field in fields(DeviceSpec)
    }


def test_importing_scenarios_brings_nothing_heavy_along() -> None:
    heavy = "{'torch', 'numpy', 'networkx', 'simpy', 'matplotlib'}"
    check = f"import sys, dualrt.scenario; print(*({heavy} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
