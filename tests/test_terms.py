"""What a scenario says of a real run: what is wrong with its keys is told where they were named."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dualrt.core.errors import UsageError
from dualrt.core.learner import Layout
from dualrt.scenario import load
from dualrt.terms import terms

CPU = torch.device("cpu")
LAYOUT = Layout(replicas=(0, 1))


def test_keys_of_the_environment_are_told_by_its_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DUALRT_KEYS", str(tmp_path / "absent.key"))
    with pytest.raises(UsageError, match=rf"^DUALRT_KEYS: {tmp_path}/absent\.key cannot be read"):
        terms(load("digits-adpsgd", ["learners=2"]), LAYOUT, CPU)


def test_keys_of_the_scenario_are_told_by_its_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DUALRT_KEYS", str(tmp_path / "other.key"))
    scenario = load("digits-adpsgd", ["learners=2", f"real.keys={tmp_path}/absent.key"])
    with pytest.raises(UsageError, match=r"real\.keys = .*absent\.key cannot be read"):
        terms(scenario, LAYOUT, CPU)
