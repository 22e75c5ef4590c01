"""NCCL deadlocks if two threads call it, so all collectives of a process come from one."""

from __future__ import annotations

import json

import pytest
import torch

from tests.support.many_askers import CALLS
from tests.support.processes import ended, started


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_all_collectives_of_a_process_come_from_one_thread_whoever_asks(
    monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    if device == "cuda" and torch.cuda.device_count() < 2:
        pytest.skip("NCCL needs a CUDA device for each process, and there are no two here")
    monkeypatch.setenv("ASKERS_DEVICE", device)
    with started("tests.support.many_askers", processes=2) as running:
        ends = [ended(process) for process in running]
    assert [code for code, _, _ in ends] == [0, 0], ends
    for _, out, _ in ends:
        told = json.loads(out)
        assert told["answers"] == [[1.0] * 3, [2.0] * 3, [7.0] * 3] * 3
        called = told["called_from"]
        assert set(called) == {*CALLS, "broadcast"}
        threads = {thread for by in called.values() for _, thread in by}
        assert len(threads) == 1, called
        assert {name for by in called.values() for name, _ in by} == {"collectives"}
        # Nobody who asked is who calls.
        assert not threads & set(told["asked_from"])
