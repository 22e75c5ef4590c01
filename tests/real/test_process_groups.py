"""Which library joins processes, and which of its groups are aborted."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.distributed as dist

from dualrt.real.process_groups import GLOO, NCCL, ProcessGroups, library_for


@pytest.mark.parametrize(
    ("devices", "library"),
    [
        (["cpu"] * 3, GLOO),
        (["GPU-1", "GPU-2"], NCCL),
        (["GPU-1", "GPU-2", "GPU-1"], GLOO),
        (["GPU-1", "cpu"], GLOO),
    ],
    ids=["processors", "a GPU each", "a GPU for two", "one of each"],
)
def test_nccl_is_for_processes_that_have_a_gpu_each(devices: list[str], library: str) -> None:
    assert library_for(devices) == library


@pytest.mark.parametrize(
    ("ours", "aborted"), [(True, [None]), (False, ["one", "another"])], ids=["ours", "a user's"]
)
def test_where_the_library_is_used_beside_us_our_groups_alone_are_aborted(
    monkeypatch: pytest.MonkeyPatch, ours: bool, aborted: list[Any]
) -> None:
    told: list[Any] = []
    monkeypatch.setattr(dist.distributed_c10d, "_abort_process_group", told.append)
    groups = ProcessGroups(
        0,
        device=torch.device("cpu"),
        library=NCCL,
        timeout_s=1.0,
        max_body_bytes=1,
        interface="127.0.0.1",
    )
    made: list[Any] = ["one", "another"]
    groups._ours, groups._joined = ours, made
    groups.abort()
    assert told == aborted
