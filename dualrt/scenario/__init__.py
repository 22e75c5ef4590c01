"""The one file that describes a run, in either mode.

`load` reads a TOML file into a `Scenario`, whose tables are pydantic models; everything that can be
wrong with it is one `ScenarioError` that names the file, the key, the value and the remedy. Knows
no algorithm, no workload and no driver. Imports pydantic and core, and is quick to import.
"""

from __future__ import annotations

from dualrt.scenario.load import load, load_cluster, made
from dualrt.scenario.models import Scenario
from dualrt.scenario.schema import json_schema

__all__ = ["Scenario", "json_schema", "load", "load_cluster", "made"]
