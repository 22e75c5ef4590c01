"""Which library joins processes, what is asked of it, and what it brings."""

from __future__ import annotations

from typing import Any, cast

import pytest
import torch
import torch.distributed as dist
from torch.distributed import HashStore

from dualrt.core.effects import Group, Packet
from dualrt.core.errors import RunError
from dualrt.real.process_groups import GLOO, NCCL, ProcessGroups, library_for
from dualrt.real.wire import WireError, seal

MAX_BODY_BYTES = 4096

PAIR = Group("pair", (0, 1))


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


class Root:
    """A group whose root sends these parts, whatever they are."""

    def __init__(self, *parts: torch.Tensor) -> None:
        self._parts = list(parts)

    def broadcast(self, tensor: torch.Tensor, root: int) -> Root:
        tensor.copy_(self._parts.pop(0))
        return self

    def wait(self) -> None:
        """It is over."""


def hearing(*parts: torch.Tensor) -> Packet:
    """What learner 1 makes of what learner 0 broadcasts."""
    groups = ProcessGroups(
        1,
        device=torch.device("cpu"),
        library=GLOO,
        timeout_s=1.0,
        max_body_bytes=MAX_BODY_BYTES,
        interface="127.0.0.1",
    )
    groups._groups[PAIR] = cast(Any, Root(*parts))
    return groups.broadcast(PAIR, 0, None)


def opening_of(packet: Packet) -> torch.Tensor:
    return torch.frombuffer(
        bytearray(seal("broadcast", packet, MAX_BODY_BYTES).opening), dtype=torch.uint8
    )


@pytest.mark.parametrize("body", [torch.arange(6.0), torch.zeros(0), None], ids=str)
def test_what_is_broadcast_arrives_as_it_was(body: torch.Tensor | None) -> None:
    opening = opening_of(Packet((1, 2), body))
    parts = [] if body is None or not len(body) else [body.view(torch.uint8)]
    nbytes = sum(len(part) for part in parts)
    came = hearing(torch.tensor([len(opening), nbytes]), opening, *parts)
    assert came.versions == (1, 2)
    if body is None:
        assert came.body is None
    else:
        assert came.body.tolist() == body.tolist()


@pytest.mark.parametrize("nbytes", [0, 4, 28], ids=["nothing", "too little", "too much"])
def test_a_body_that_is_not_as_large_as_its_opening_says_is_refused(nbytes: int) -> None:
    opening = opening_of(Packet((1, 2), torch.ones(6)))
    body = torch.zeros(nbytes, dtype=torch.uint8)
    with pytest.raises(WireError, match="bytes"):
        hearing(torch.tensor([len(opening), nbytes]), opening, body)


@pytest.mark.parametrize(
    "sizes",
    [(1 << 45, 0), (10, 1 << 45), (10, MAX_BODY_BYTES + 1), (0, 0), (-1, 0), (10, -1)],
    ids=str,
)
def test_sizes_that_cannot_be_are_refused_before_there_is_memory_for_them(
    sizes: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def empty(*_: object, **__: object) -> torch.Tensor:
        raise AssertionError("memory was taken")

    said = torch.tensor(sizes)
    monkeypatch.setattr(torch, "empty", empty)
    with pytest.raises(WireError, match=f"learner 0 broadcasts an opening of {sizes[0]} bytes"):
        hearing(said)


def groups_of_one(rank: int = 0) -> ProcessGroups:
    return ProcessGroups(
        rank,
        device=torch.device("cpu"),
        library=GLOO,
        timeout_s=20.0,
        max_body_bytes=1,
        interface="127.0.0.1",
    )


def test_each_group_that_we_are_in_is_called_once_before_the_run_begins(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    called = []

    def called_for(_: ProcessGroups, group: Group, one: torch.Tensor) -> torch.Tensor:
        called.append(group)
        return one

    monkeypatch.setattr(ProcessGroups, "sum", called_for)
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "new_group", lambda *_: object())
    others = Group("others", (1, 2))
    groups_of_one().join(HashStore(), 3, [PAIR, others, Group("all", (0, 1, 2))])
    assert called == [PAIR, Group("all", (0, 1, 2))]


def test_a_library_that_fails_in_its_first_call_fails_as_where_groups_are_joined(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("ncclSystemError: no route to host")

    monkeypatch.setattr(dist, "all_reduce", fail)
    said = "learner 0 could not join its groups: ncclSystemError: no route to host. .*doctor"
    with pytest.raises(RunError, match=said):
        groups_of_one().join(HashStore(), 1, [Group("all", (0,))])
    assert not dist.is_initialized()
