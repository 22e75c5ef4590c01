"""`dualrt keys`, and runs that use them."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
import zmq

from tests.support import commands

QUICK = commands.settings("learners=2", "training.epochs=0.5")

LOGS = ["--log-format", "json", "--log-level", "info"]


def test_keys_are_made_once(tmp_path: Path) -> None:
    path = tmp_path / "run.key"
    made = commands.run("keys", str(path), "--json")
    assert made.returncode == 0
    assert json.loads(made.stdout)["file"] == str(path)
    again = commands.run("keys", str(path))
    assert (again.returncode, again.stdout) == (2, "")
    assert "already exists" in again.stderr
    assert commands.run("keys", str(path), "--force").returncode == 0


def test_processes_of_one_host_need_none_to_encrypt() -> None:
    on = commands.settings("real.curve=on")
    told = commands.result("train", "digits-adpsgd", "--local", "2", *QUICK, *on)
    assert told["updates"] > 0


def test_an_interface_that_others_reach_needs_keys_or_a_word(tmp_path: Path) -> None:
    off = commands.settings("real.curve=off", "real.interface=192.0.2.1")
    done = commands.run("train", "digits-adpsgd", "--local", "2", *QUICK, *off)
    # There is no such interface here, but the warning comes before.
    assert done.returncode == 2
    assert "may read and change the weights" in done.stderr


@pytest.mark.timeout(60)
@pytest.mark.parametrize("launcher", ["--local", "torchrun"])
def test_a_stranger_of_this_host_is_not_let_in_without_keys_either(launcher: str) -> None:
    train = ["train", "digits-adpsgd", *commands.settings("learners=2", "training.epochs=1e6")]
    command = commands.TORCHRUN if launcher == "torchrun" else commands.DUALRT
    local = [] if launcher == "torchrun" else ["--local", "2"]
    with (
        commands.start(*train, *local, *LOGS, command=command) as run,
        zmq.Context() as context,
        context.socket(zmq.DEALER) as stranger,
    ):
        try:
            assert run.stderr is not None
            said = (json.loads(line) for line in run.stderr if line.startswith("{"))
            address = next(one["fields"]["address"] for one in said if one.get("event") == "begun")
            stranger.linger, stranger.immediate, stranger.sndtimeo = 0, 1, 1000
            stranger.connect(address)
            with pytest.raises(zmq.Again):
                stranger.send(b"a part", zmq.SNDMORE)
        finally:
            run.send_signal(signal.SIGINT)
            run.communicate(timeout=commands.PATIENCE_S)
