"""The acoustic model in either mode: the same bits, on segments of noise that pass for speech.

Noise is enough: what is compared is arithmetic, and a prepared corpus takes minutes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support import commands, noise


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return noise.prepared(tmp_path_factory.mktemp("speech") / "noise.h5")


@pytest.mark.parametrize("mixing", ["pairwise", "neighbours"])
def test_the_blstm_ends_at_the_same_bits_in_both_modes(data: Path, mixing: str) -> None:
    words = [
        "speech-adpsgd",
        *commands.settings(
            "algorithm.name=sd-psgd",
            f"topology.mixing={mixing}",
            f"workload.data={data}",
            "workload.cells=16",
            "workload.batch=4",
            "training.epochs=1",
            "training.audit=true",
        ),
    ]
    simulated: dict[str, Any] = commands.result_here("simulate", *words)
    real: dict[str, Any] = commands.result("train", *words, "--local", "4")
    assert simulated["steps_by_learner"] == real["steps_by_learner"] == [4] * 4
    assert simulated["digest"]["numerics"] == real["digest"]["numerics"]
    assert simulated["accuracy"] == real["accuracy"]
    assert real["conservation_error"] < 1e-5
