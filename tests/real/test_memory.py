"""What a step frees stays with the process."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from dualrt.real import memory

FAULTS = """
import resource
import threading

import torch

from dualrt.real.memory import keep_what_is_freed


def step():
    parts = [torch.ones(250_000) for _ in range(8)]
    del parts


def steps():
    for _ in range(3):
        step()
    before = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt
    for _ in range(20):
        step()
    print(resource.getrusage(resource.RUSAGE_THREAD).ru_minflt - before)


kept = {kept}
assert not kept or keep_what_is_freed()
thread = threading.Thread(target=steps)
thread.start()
thread.join()
"""
"""Steps of eight tensors of 1 MB, on a thread: how many pages the kernel has cleared in twenty."""


def faults(*, kept: bool) -> int:
    command = [sys.executable, "-c", FAULTS.format(kept=kept)]
    return int(subprocess.run(command, capture_output=True, check=True, text=True).stdout)


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc" or any(name in os.environ for name in memory.SETTINGS),
    reason="another C library, or its allocator is set already",
)
def test_pages_are_cleared_once_and_not_in_each_step() -> None:
    # 244 pages a tensor; where they are kept, the last time that a heap grows may be among these.
    if faults(kept=False) < 10 * 244:
        pytest.skip("this torch keeps what is freed by itself")
    assert faults(kept=True) < 10 * 244


@pytest.mark.parametrize("name", memory.SETTINGS)
def test_what_the_environment_says_holds(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "1")
    assert not memory.keep_what_is_freed()
