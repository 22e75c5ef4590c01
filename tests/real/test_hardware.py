"""Which device a process computes on, for hosts with more and fewer devices than processes."""

from __future__ import annotations

import pytest
import torch

from dualrt.core.errors import UsageError
from dualrt.modes.real import _device
from dualrt.real.hardware import SHARED, choose_device, identity
from dualrt.real.rendezvous import Launch
from dualrt.scenario import load

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def two_devices(monkeypatch: pytest.MonkeyPatch) -> list[torch.device]:
    """As if there were; with those that were made current."""
    current: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", current.append)
    return current


def chosen(wanted: str, processes: int) -> list[torch.device]:
    """By each process of a host."""
    return [
        choose_device(wanted, Launch(rank, processes, rank, processes)) for rank in range(processes)
    ]


def test_each_process_has_one_of_its_own(two_devices: list[torch.device]) -> None:
    assert chosen("auto", 2) == chosen("cuda", 2) == [torch.device("cuda", n) for n in range(2)]
    assert two_devices[:2] == chosen("cuda", 2)


def test_where_there_are_too_few_all_of_a_host_compute_alike() -> None:
    assert chosen("auto", 3) == [CPU] * 3
    for rank in range(3):
        with pytest.raises(UsageError, match=rf"process {rank} .* each of the 3 does, and sees 2"):
            choose_device("cuda", Launch(rank, 3, rank, 3))


def test_gpus_that_nobody_uses_are_told_of_once_a_host(caplog: pytest.LogCaptureFixture) -> None:
    scenario = load("digits-adpsgd", ["learners=6"])
    # Two hosts of three processes and two GPUs each.
    for rank in range(6):
        assert _device(scenario, Launch(rank, 6, rank % 3, 3)) == CPU
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 2
    assert all(
        "its GPUs (2) are too few for one each; real.device = 'cuda-shared'" in one for one in told
    )
    caplog.clear()
    for wanted, processes in (("cpu", 3), ("auto", 2), ("cuda-shared", 3)):
        there = load("digits-adpsgd", [f"real.device={wanted}", f"learners={processes}"])
        _device(there, Launch(0, processes, 0, processes))
    assert not caplog.records


def test_devices_are_shared_where_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert chosen(SHARED, 3) == [torch.device("cuda", n) for n in (0, 1, 0)]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(UsageError, match=r"sees no device to share\. Use --set real\.device=cpu"):
        choose_device(SHARED, Launch(0, 1, 0, 1))


def test_a_device_has_a_name_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    class Old:
        """As torch before 2.5 tells of a device."""

    class New(Old):
        uuid = "4c7a"

    names = []
    for properties in (Old(), New()):
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _, it=properties: it)
        names += [identity(torch.device("cuda", 0)), identity(torch.device("cuda", 1))]
    assert names[0] != names[1]
    assert names[2:] == ["4c7a"] * 2
    assert identity(CPU) == "cpu"


def test_the_processor_is_never_short(two_devices: list[torch.device]) -> None:
    assert chosen("cpu", 3) == [CPU] * 3
    assert not two_devices


def test_a_device_that_cannot_be_used_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(_: torch.device) -> None:
        raise RuntimeError("CUDA error: all CUDA-capable devices are busy\nand a trace")

    monkeypatch.setattr(torch.cuda, "set_device", busy)
    with pytest.raises(UsageError, match=r"cannot use cuda:1: CUDA error: .* are busy\. See that"):
        choose_device("auto", Launch(1, 2, 1, 2))
