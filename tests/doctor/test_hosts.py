"""Two hosts, a cable that is slow in one direction, and a port that a firewall keeps."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from benchmarks.hosts import cable, ip, slow_down
from dualrt.real.keys import Keys
from tests.support import commands
from tests.support.namespaces import MARKS, torchrun

# It tells a slow cable from a fast one, and a busy machine makes every cable slow.
pytestmark = [*MARKS, pytest.mark.alone]

BLOCKED = 20_003
"""The port of learner 3."""


def test_the_slow_direction_and_the_blocked_port_are_named(tmp_path: Path) -> None:
    Keys.make().write(tmp_path / "run.key")
    options = (
        f"real.keys={tmp_path / 'run.key'}",
        "real.ports=20000-20003",
        "real.timeout_s=40",
    )
    with cable() as hosts:
        second = hosts[1]
        # What it sends: 8 MB/s at most, and nothing from that port.
        slow_down(second, 64.0)
        rule = ["rule", "add", "from", second.address, "ipproto", "tcp", "sport", f"{BLOCKED}"]
        ip("-n", second.name, *rule, "blackhole")
        started = [
            subprocess.Popen(
                torchrun(
                    hosts,
                    number,
                    "doctor",
                    "digits-adpsgd",
                    "--json",
                    *commands.settings(f"real.interface={host.address}", *options),
                ),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for number, host in enumerate(hosts)
        ]
        try:
            ended = [process.communicate(timeout=100) for process in started]
        finally:
            for process in started:
                process.kill()
    assert started[0].returncode != 0
    assert ended[1][0] == ""
    report = json.loads(ended[0][0])
    assert report["healthy"] is False
    failed = [one for one in report["findings"] if one["verdict"] == "fail"]
    assert {one["check"] for one in failed} == {"peers"}, failed
    for rank, finding in zip((0, 1), sorted(failed, key=lambda one: one["said"]), strict=True):
        assert f"learner {rank} " in finding["said"]
        assert "learner 3 " in finding["said"]
        assert f"tcp://{second.address}:{BLOCKED}" in finding["said"]
        assert "firewall" in finding["remedy"]
    assert [(way["a"], way["b"]) for way in report["ways"]] == [(0, 1), (0, 2), (1, 2), (2, 3)]
    slow = next(one for one in report["findings"] if one["check"] == "bandwidth between hosts")
    assert slow["verdict"] == "warn"
    for rank in (0, 1):
        assert f"{second.address}) to learner {rank} (" in slow["said"]
    gloo = next(one for one in report["findings"] if one["check"] == "gloo")
    assert gloo["verdict"] == "ok", gloo["said"]
