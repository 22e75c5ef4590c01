"""`train --keep-order` and `replay`: real processes, and the same weights once more."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from dualrt import api
from dualrt.core.errors import UsageError
from dualrt.real.rendezvous import Launch
from dualrt.scenario import load
from tests.support import commands

DIGITS = ["digits-adpsgd", *commands.settings("training.epochs=1")]

SUPER_LEARNERS = commands.settings("algorithm.name=h-adpsgd", "algorithm.learners_per_group=2")

CRASH_AND_RETURN = commands.settings(
    "faults.crashes=[{learner = 1, at_step = 3, rejoin_after_s = 1.0}]"
)

STUCK = """
import pathlib
import threading

from dualrt.workloads.digits import Digits


class Stuck(Digits):
    def gradient(self, at, rank, draw):
        pathlib.Path(__file__).with_name("begun").touch()
        threading.Event().wait()
"""

IN_BUCKETS = commands.settings(
    "algorithm.name=ssgd", "algorithm.bucket_bytes=2000", "topology.graph=ring"
)


@pytest.fixture(scope="module")
def gossiped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two super-learners of two, each with an allreduce inside, and gossip between them."""
    return kept(tmp_path_factory.mktemp("run") / "kept", 4, *SUPER_LEARNERS)


def kept(folder: Path, learners: int, *words: str) -> Path:
    commands.result(
        "train", *DIGITS, *words, "--local", str(learners), "--out", folder, "--keep-order"
    )
    return folder


def replayed(folder: Path, *words: str | Path) -> dict[str, Any]:
    return commands.result_here("replay", folder, *words)


def test_processes_that_gossip_come_to_the_same_weights_again(gossiped: Path) -> None:
    told = replayed(gossiped)
    assert told["same"] is True
    assert told["whole"] is True
    assert told["largest_difference"] == 0
    summary = json.loads((gossiped / "summary.json").read_text())
    assert [one["steps"] for one in told["learners"]] == summary["steps_by_learner"]


def test_three_processes_that_reduce_in_buckets_do(tmp_path: Path) -> None:
    # Of two the order of a sum tells nothing.
    told = replayed(kept(tmp_path / "kept", 3, *IN_BUCKETS))
    assert (told["same"], told["whole"]) == (True, True)


def test_it_says_so_in_words(gossiped: Path) -> None:
    shown = commands.here("replay", gossiped)
    assert shown.returncode == 0
    assert "The same weights as in the run, to the bit." in shown.stdout


def test_it_ends_at_a_step_and_writes_the_model_there(gossiped: Path, tmp_path: Path) -> None:
    # One of them may have made nearly all updates before the other began.
    made = json.loads((gossiped / "summary.json").read_text())["steps_by_learner"]
    leader = max((0, 2), key=made.__getitem__)
    told = replayed(gossiped, "--until", f"{leader}:5", "--model", tmp_path / "then.safetensors")
    assert (told["learners"][leader]["updates"], told["stopped"]) == (5, True)
    assert told["same"] is None
    then, ended = (
        load_file(file)["weights"]
        for file in (tmp_path / "then.safetensors", gossiped / "model.safetensors")
    )
    assert then.shape == ended.shape
    assert not then.equal(ended)


def test_a_follower_never_gets_to_an_update_of_its_own(gossiped: Path) -> None:
    shown = commands.here("replay", gossiped, "--until", "1:1")
    assert shown.returncode == 0
    assert "Nobody has applied so many updates" in shown.stdout


def test_other_weights_are_said_to_be_others(gossiped: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(gossiped, tmp_path / "copy")
    text = (folder / "scenario.toml").read_text()
    (folder / "scenario.toml").write_text(text.replace("\nseed = 1\n", "\nseed = 2\n"))
    ended = commands.here("replay", folder)
    assert ended.returncode == 1
    assert "others" in ended.stdout
    assert "the weights are not those of the run" in ended.stderr


def test_a_run_that_was_cut_short_is_replayed_as_far_as_it_is_known(
    gossiped: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(gossiped, tmp_path / "copy")
    lines = (folder / "order-0.jsonl").read_bytes().splitlines(keepends=True)
    half = len(lines) // 2
    (folder / "order-0.jsonl").write_bytes(b"".join(lines[:half]) + lines[half][:5])
    told = replayed(folder)
    assert told["same"] is None
    assert told["learners"][0]["turns"] == told["learners"][0]["turns_kept"] == half - 1
    shown = commands.here("replay", folder)
    assert "as far as its order is known" in " ".join(shown.stdout.split())


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("order-*.jsonl", "holds no order-*.jsonl. Name a folder that dualrt train --keep-order"),
        ("order-1.jsonl", "order-1.jsonl is missing, of 4 learners. Bring the files of all hosts"),
        ("scenario.toml", "is missing: the scenario that the run was of. Bring it along"),
    ],
)
def test_what_is_missing_is_named(gossiped: Path, tmp_path: Path, file: str, words: str) -> None:
    folder = shutil.copytree(gossiped, tmp_path / "copy")
    for found in folder.glob(file):
        found.unlink()
    assert words in refusal("replay", folder)


@pytest.mark.parametrize(
    ("line", "text", "words"),
    [
        (1, b"{}\n", "does not begin as the order of a run"),
        (1, None, "is of version 2 and not 1. Replay it with dualrt"),
        (3, b'["train"]\n', "line 3, is no turn"),
    ],
)
def test_a_file_of_something_else_is_refused(
    gossiped: Path, tmp_path: Path, line: int, text: bytes | None, words: str
) -> None:
    folder = shutil.copytree(gossiped, tmp_path / "copy")
    file = folder / "order-3.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    lines[line - 1] = text or lines[0].replace(b'"version":1', b'"version":2')
    file.write_bytes(b"".join(lines))
    assert words in refusal("replay", folder)


@pytest.mark.parametrize("until", ["0", "-3", "1:", "x:2", "1:2:3", "-1:4"])
def test_a_place_that_is_none_is_refused(gossiped: Path, until: str) -> None:
    assert "give a step from 1 on" in refusal("replay", gossiped, f"--until={until}")


@pytest.mark.parametrize(
    ("asked", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["ctrl-c", "sigterm"]
)
def test_it_ends_when_asked_to_whatever_a_computation_does(
    gossiped: Path, tmp_path: Path, asked: signal.Signals, code: int
) -> None:
    folder = shutil.copytree(gossiped, tmp_path / "copy")
    for order in folder.glob("order-*.jsonl"):
        first, *others = order.read_bytes().splitlines(keepends=True)
        header = json.loads(first)
        # The module is looked for where relative paths start.
        header["order"]["folder"] = str(folder)
        order.write_bytes(json.dumps(header).encode() + b"\n" + b"".join(others))
    text = (folder / "scenario.toml").read_text()
    text = text.replace('name = "digits"', 'name = "stuck:Stuck"')
    (folder / "scenario.toml").write_text(text)
    (folder / "stuck.py").write_text(STUCK)
    with commands.start("replay", folder) as process:
        try:
            assert commands.await_((folder / "begun").exists), process.communicate()
            process.send_signal(asked)
            assert process.wait(commands.PATIENCE_S) == code
            assert process.stderr is not None
            assert "Traceback" not in process.stderr.read()
        finally:
            process.kill()


def test_files_of_two_learners_that_are_one_are_refused(gossiped: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(gossiped, tmp_path / "copy")
    shutil.copy(folder / "order-1.jsonl", folder / "order-2.jsonl")
    told = "order-2.jsonl is of learner 1 of 4, and not of learner 2 of 4"
    assert told in refusal("replay", folder)


def test_a_program_that_names_no_folder_is_refused() -> None:
    scenario = load("digits-adpsgd", ["learners=1", "topology.graph=complete"])
    launch = Launch(rank=0, learners=1, local_rank=0, local_learners=1)
    with pytest.raises(UsageError, match="--keep-order goes with --out DIR"):
        api.train(scenario, launch, keep_order=True)


def test_a_learner_that_was_not_there_is_refused(gossiped: Path) -> None:
    assert "there is no learner 4" in refusal("replay", gossiped, "--until", "4:1")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--keep-order"], "--keep-order goes with --out DIR"),
        (
            ["--keep-order", "--out", "run", "--checkpoint", "kept", "--resume"],
            "cannot be replayed",
        ),
        (
            ["--keep-order", "--out", "run", "--set", "real.restarts=2"],
            "real.restarts = 2: learners that are started again have no place in an order",
        ),
        (
            ["--keep-order", "--out", "run", *CRASH_AND_RETURN],
            "rejoin_after_s = 1.0: learners that are started again have no place in an order",
        ),
    ],
)
def test_what_cannot_be_kept_is_refused(
    words: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert told in refusal("train", "digits-adpsgd", "--local", "4", *words)


def refusal(*words: str | Path) -> str:
    """What a command says that ends with 2."""
    ended = commands.here(*words)
    assert ended.returncode == 2, ended.stderr
    return " ".join(ended.stderr.split())
