"""What a process says of its device, on hosts with and without GPUs that it may use."""

from __future__ import annotations

import pytest
import torch

from dualrt.doctor.findings import Verdict
from dualrt.doctor.host import device
from dualrt.real.rendezvous import Launch
from dualrt.scenario import load

GB = 1_000_000_000


@pytest.mark.parametrize(
    ("wanted", "processes", "model_bytes", "verdict", "said"),
    [
        ("auto", 1, GB, Verdict.OK, "a GPU, 10.0 GB of 12.0 GB free"),
        ("auto", 1, 3 * GB, Verdict.WARN, "and the model is 3.00 GB"),
        ("auto", 3, GB, Verdict.WARN, "the processor, though there are GPUs: 2 of them"),
        ("cpu", 3, GB, Verdict.OK, "the processor"),
        ("cuda-shared", 4, GB, Verdict.OK, "free, for 2 processes"),
        ("cuda-shared", 5, GB, Verdict.WARN, "for 3 processes, and the model is 1.00 GB"),
        ("cuda", 3, GB, Verdict.FAIL, "real.device=cuda-shared"),
    ],
)
def test_two_gpus(
    monkeypatch: pytest.MonkeyPatch,
    wanted: str,
    processes: int,
    model_bytes: int,
    verdict: Verdict,
    said: str,
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", lambda chosen: None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda chosen: (10 * GB, 12 * GB))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda chosen: "a GPU")
    scenario = load("digits-adpsgd", [f"real.device={wanted}", f"learners={processes}"])
    found = device(scenario, Launch(0, processes, 0, processes), model_bytes)
    assert (found.check, found.verdict) == ("device", verdict)
    assert said in found.said
