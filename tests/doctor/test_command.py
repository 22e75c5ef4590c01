"""The command, on one machine: what it says, its exit code, its end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dualrt.real.keys import Keys
from tests.support import commands


def test_processes_that_are_well_are_said_to_be(tmp_path: Path) -> None:
    found = commands.result("doctor", "digits-adpsgd", "--local", "2", "--out", tmp_path / "out")
    assert found["healthy"] is True
    verdicts = {one["check"]: one["verdict"] for one in found["findings"]}
    for check in ("software", "scenario", "model", "device", "keys", "listening", "gloo"):
        assert verdicts[check] == "ok", found["findings"]
    assert {f"--out {tmp_path / 'out'}", "cores", "/dev/shm", "bandwidth inside a host"} <= set(
        verdicts
    )
    (way,) = found["ways"]
    assert (way["a"], way["b"]) == (0, 1)
    assert min(way["there_bytes_per_s"], way["back_bytes_per_s"], way["round_trip_s"]) > 0
    assert not (tmp_path / "out").exists()


def test_keys_that_others_can_read_are_a_failure_with_what_to_do(tmp_path: Path) -> None:
    Keys.make().write(tmp_path / "run.key")
    (tmp_path / "run.key").chmod(0o644)
    options = commands.settings(f"real.keys={tmp_path / 'run.key'}")
    done = commands.here("doctor", "digits-adpsgd", *options)
    assert done.returncode == 1
    words = " ".join(done.stdout.split())
    assert "fail keys" in words
    assert "chmod 600" in words
    assert "A run would not work." in words


def test_without_a_launcher_it_says_what_it_did_not_look_at() -> None:
    done = commands.here("doctor", "digits-adpsgd")
    assert done.returncode == 0
    assert "Use --local 4, or torchrun" in " ".join(done.stdout.split())


def test_another_number_of_processes_than_learners_is_a_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    done = commands.here("doctor", "digits-adpsgd")
    assert done.returncode == 1
    words = " ".join(done.stdout.split())
    assert "learners = 4, and WORLD_SIZE is 1" in words
    assert "--set learners=1" in words


def test_a_folder_in_use_and_an_interface_that_is_none_are_failures(tmp_path: Path) -> None:
    (tmp_path / "there").touch()
    options = commands.settings("real.interface=192.0.2.1", "real.curve=off", "learners=1")
    done = commands.here("doctor", "digits-adpsgd", "--out", tmp_path, *options)
    assert done.returncode == 1
    words = " ".join(done.stdout.split())
    assert "is there already" in words
    assert "real.interface = '192.0.2.1' cannot be bound (Cannot assign requested address)" in words


def test_an_interrupted_look_leaves_nothing(tmp_path: Path) -> None:
    env = {"TMPDIR": str(tmp_path)}
    done = commands.interrupted("doctor", "--local", "2", env=env, once=commands.has_processes(3))
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr.splitlines()[-1] == "dualrt: interrupted"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("algorithm", "verdict"), [("adpsgd", "warn"), ("ssgd", "fail")])
def test_collectives_that_do_not_work_matter_where_they_are_called(
    algorithm: str, verdict: str
) -> None:
    options = commands.settings(f"algorithm.name={algorithm}", "topology.graph=complete")
    done = commands.run(
        "doctor",
        "quadratic-sd-psgd",
        "--local",
        "2",
        "--json",
        *options,
        env={"GLOO_SOCKET_IFNAME": "none-such"},
    )
    found = json.loads(done.stdout)
    (gloo,) = (one for one in found["findings"] if one["check"] == "gloo")
    assert gloo["verdict"] == verdict
    assert "none-such" in gloo["said"]
    assert (found["healthy"], done.returncode) == ((True, 0) if verdict == "warn" else (False, 1))
    assert "has lost" not in done.stderr
