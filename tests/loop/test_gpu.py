"""The same loops with models on a GPU, which two processes may share where nothing is reduced."""

from __future__ import annotations

import json

import pytest
import torch

from tests.support.processes import ended, started

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here"),
]


def test_loops_on_a_gpu_come_to_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOOPS_DEVICE", "cuda")
    loops = ("decentralised", "asynchronous", "everything_untouched")
    with started("tests.support.loops", *loops, processes=2) as running:
        ends = [ended(process) for process in running]
    assert [code for code, _, _ in ends] == [0, 0], ends
    first, second = (json.loads(out) for _, out, _ in ends)
    assert first["decentralised"]["model"] == pytest.approx(
        first["decentralised"]["expected"], abs=1e-5
    )
    assert first["asynchronous"]["model"] == second["asynchronous"]["model"]
    assert first["asynchronous"]["summary"]["conservation_error"] < 1e-5
    for one in (first, second):
        told = one["everything_untouched"]
        for loop in ("one step", "three steps"):
            assert told[loop] == pytest.approx(told[f"{loop}, expected"], abs=1e-4)
