"""NCCL deadlocks if two threads call it, so all collectives of a process come from one."""

from __future__ import annotations

import json
import threading

import pytest
import torch

from dualrt.core.effects import Group
from dualrt.core.errors import Loss, PeerLostError, StalledError
from dualrt.real import collectives
from dualrt.real.collectives import Collectives
from dualrt.real.hardware import SHARED
from dualrt.real.process_groups import GLOO, NCCL, ProcessGroups
from tests.support.many_askers import CALLS
from tests.support.processes import ended, started


@pytest.mark.parametrize(
    "device", ["cpu", *(pytest.param(one, marks=pytest.mark.gpu) for one in ("cuda", SHARED))]
)
def test_all_collectives_of_a_process_come_from_one_thread_whoever_asks(
    monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    if device == "cuda" and torch.cuda.device_count() < 2:
        pytest.skip("NCCL needs a CUDA device for each process, and there are no two here")
    if device == SHARED and not torch.cuda.is_available():
        pytest.skip("there is no CUDA device here")
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


def alone(library: str = GLOO) -> Collectives:
    """Of one process, which calls no library."""
    groups = ProcessGroups(
        0,
        device=torch.device("cpu"),
        library=library,
        timeout_s=30.0,
        max_body_bytes=1,
        interface="127.0.0.1",
    )
    return Collectives(groups)


def test_a_call_that_hangs_is_aborted_when_the_collectives_are_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(collectives, "LEAVING_S", 0.05)
    called, hangs = threading.Event(), threading.Event()
    aborted: list[object] = []

    def hang() -> None:
        called.set()
        hangs.wait()

    def abort() -> None:
        aborted.append("all")
        hangs.set()

    made = alone(NCCL)
    monkeypatch.setattr(made._library, "abort", abort)
    made._begin(hang, None)
    assert called.wait(30)
    made.close()
    made._thread.join(30)
    assert not made._thread.is_alive()
    assert aborted == ["all"]


def test_groups_of_before_are_left_before_others_are_joined(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(collectives, "LEAVING_S", 0.05)
    called, hangs = threading.Event(), threading.Event()

    def hang() -> None:
        called.set()
        hangs.wait()

    made = alone()
    made._begin(hang, None)
    assert called.wait(30)
    made.close()
    try:
        with pytest.raises(StalledError, match=r"learner 3 has not left the groups of its last"):
            collectives.in_use(3, 0.05)
    finally:
        hangs.set()
    assert not collectives.in_use(3, 30.0)
    assert not made._thread.is_alive()


def test_what_does_not_hang_is_not_aborted(monkeypatch: pytest.MonkeyPatch) -> None:
    aborted: list[object] = []
    made = alone(NCCL)
    monkeypatch.setattr(made._library, "abort", lambda: aborted.append("all"))
    made.close()
    assert not made._thread.is_alive()
    assert not aborted


def test_who_leaves_a_group_waits_in_it_no_more() -> None:
    group, another = Group("both", (0, 1)), Group("another", (0, 1))
    called, hangs = threading.Event(), threading.Event()

    def hang() -> None:
        called.set()
        hangs.wait()

    def leave() -> None:
        called.wait(30)
        made.leave(another, 1)
        made.leave(group, 1)

    made = alone()
    leaving = threading.Thread(target=leave)
    leaving.start()
    for loss in (Loss.NOTICED, Loss.KNOWN):
        with pytest.raises(PeerLostError, match="it has done with group 'both'") as lost:
            made._wait(hang, group)
        assert (lost.value.peer, lost.value.loss) == (1, loss)
    leaving.join()
    hangs.set()
    made.close()
