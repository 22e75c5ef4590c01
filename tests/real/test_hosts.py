"""The same command on several hosts: two network namespaces, joined by a virtual cable.

Needs root and iproute2; skipped elsewhere. Addresses are of the namespaces alone.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ADDRESSES = ("10.77.0.1", "10.77.0.2")
PORT = 29511
TORCHRUN = Path(sys.executable).with_name("torchrun")


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


def namespaces_work() -> bool:
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return False
    probe = f"dualrt-probe-{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", probe], check=False, capture_output=True)
    if made.returncode == 0:
        ip("netns", "del", probe)
    return made.returncode == 0


pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(not namespaces_work(), reason="needs root and `ip netns`"),
]


@pytest.fixture
def hosts() -> Iterator[tuple[str, ...]]:
    names = tuple(f"dualrt{os.getpid()}-{number}" for number in range(len(ADDRESSES)))
    for name in names:
        ip("netns", "add", name)
    try:
        ip(
            "link",
            "add",
            "dv0",
            "netns",
            names[0],
            "type",
            "veth",
            "peer",
            "dv1",
            "netns",
            names[1],
        )
        for number, (name, address) in enumerate(zip(names, ADDRESSES, strict=True)):
            ip("-n", name, "addr", "add", f"{address}/24", "dev", f"dv{number}")
            ip("-n", name, "link", "set", f"dv{number}", "up")
            ip("-n", name, "link", "set", "lo", "up")
        yield names
    finally:
        for name in names:
            ip("netns", "del", name)


def command(host: str, number: int, interface: str) -> list[str]:
    launch = [str(TORCHRUN), "--nnodes=2", f"--node-rank={number}", "--nproc-per-node=2"]
    meet = [f"--master-addr={ADDRESSES[0]}", f"--master-port={PORT}"]
    run = ["-m", "dualrt", "train", "digits-adpsgd", "--json"]
    options = [
        "algorithm.name=h-adpsgd",
        "training.epochs=2",
        "training.audit=true",
        f"real.interface={interface}",
    ]
    settings = [word for option in options for word in ("--set", option)]
    return ["ip", "netns", "exec", host, *launch, *meet, *run, *settings]


def test_super_learners_on_two_hosts_train_together(hosts: tuple[str, ...]) -> None:
    """Those of a host are one; each is told its address or the name of its interface."""
    commands = [command(hosts[0], 0, ADDRESSES[0]), command(hosts[1], 1, "dv1")]
    started = [
        subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for words in commands
    ]
    try:
        ended = [process.communicate(timeout=100) for process in started]
    finally:
        for process in started:
            process.kill()
    assert [process.returncode for process in started] == [0, 0], ended
    summary = json.loads(ended[0][0])
    assert summary["learners"] == 4
    assert summary["conservation_error"] < 1e-5
    first, second, third, fourth = summary["steps_by_learner"]
    assert (first, third) == (second, fourth)
    assert summary["updates"] == first + third
    # Results are rank 0's to tell.
    assert ended[1][0] == ""


def test_loopback_is_refused_between_hosts(hosts: tuple[str, ...]) -> None:
    words = command(hosts[0], 0, "127.0.0.1")
    # A process as torchrun would start it, so that the other host need not be there.
    environment = {
        **os.environ,
        "RANK": "0",
        "WORLD_SIZE": "4",
        "LOCAL_RANK": "0",
        "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": ADDRESSES[0],
        "MASTER_PORT": str(PORT),
    }
    alone = [sys.executable, *words[words.index("-m") :]]
    done = subprocess.run(
        ["ip", "netns", "exec", hosts[0], *alone],
        check=False,
        capture_output=True,
        text=True,
        env=environment,
        timeout=60,
    )
    assert done.returncode == 2
    assert "real.interface = '127.0.0.1'" in done.stderr
    assert "--set real.interface=" in done.stderr
