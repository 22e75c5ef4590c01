"""Runs that lost every process they had, and go on from what was kept."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from tests.cli.test_checkpoints import sets, step_of
from tests.support import commands

HELD = Path(__file__).parent / "scenarios" / "held.toml"

LEARNT = 300
"""After so many steps of a learner the digits are learnt, but for some per cent."""

MORE = 100
"""Steps that are taken after that: alone they do not suffice."""

LONG = 800
"""So many that a run is not over before its processes are killed."""

TOLERANCE = 0.03
"""What runs of the same length differ by in accuracy, of 360 digits."""


def has_learnt(kept: Path) -> bool:
    """Whether the newest checkpoint is of a learner that has learnt."""
    found = sets(kept)
    return bool(found) and step_of(found[-1]) >= LEARNT


def epochs(steps: int, learners: int) -> str:
    """The setting of a run of so many steps of each of these learners, 16 samples each."""
    return f"training.epochs={steps * learners * 16 / 1424}"


def test_learners_that_all_die_at_once_go_on_from_what_they_kept(tmp_path: Path) -> None:
    kept, marks = tmp_path / "kept", tmp_path / "marks"
    marks.mkdir()
    words = ["learners=2", epochs(LEARNT + LONG, 2), "real.restarts=1"]
    asked: list[str | Path] = [
        "train",
        HELD,
        "--local",
        "2",
        "--json",
        "--log-level",
        "info",
        "--log-format",
        "json",
    ]
    asked += ["--checkpoint", kept, "--checkpoint-every", "20 steps", *commands.settings(*words)]
    with commands.start(*asked, env={"DUALRT_TEST_HELD": str(marks)}) as parent:
        try:
            assert commands.await_(lambda: has_learnt(kept))
            # From now on they hardly get on.
            (marks / "hold").touch()
            for rank in range(2):
                os.kill(int((marks / f"{rank}.0").read_text()), signal.SIGKILL)
            assert commands.await_(lambda: all((marks / f"{rank}.1").exists() for rank in range(2)))
            (marks / "hold").unlink()
            out, err = parent.communicate(timeout=commands.PATIENCE_S)
        finally:
            parent.kill()
    assert parent.returncode == 0, err
    told = [json.loads(line) for line in err.splitlines()]
    back = [one["fields"] for one in told if one["event"] == "rejoined"]
    assert len(back) == 2
    assert any(one["taken_from"].startswith(f"its own part of {kept}") for one in back)
    # Each as far as it knew of the other.
    assert max(one["updates"] for one in back) >= 2 * LEARNT
    assert min(one["updates"] for one in back) > LEARNT
    assert commands.only_object(out)["faults"]["returns"] == 2
    whole = commands.result_here("simulate", HELD, *commands.settings(*words[:2]))
    assert commands.only_object(out)["accuracy"] > whole["accuracy"] - TOLERANCE


def test_gossip_that_was_ended_goes_on_to_what_it_would_have_learnt(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    words: list[str | Path] = ["digits-adpsgd", *commands.settings("learners=2")]
    endless = ["--checkpoint-every", "20 steps", *commands.settings("training.epochs=100000")]
    asked = ["train", *words, "--local", "2", "--checkpoint", kept, *endless]
    with commands.start(*asked) as parent:
        try:
            assert commands.await_(lambda: has_learnt(kept))
            parent.terminate()
            _, err = parent.communicate(timeout=commands.PATIENCE_S)
        finally:
            parent.kill()
    assert parent.returncode == 128 + signal.SIGTERM, err
    steps = step_of(sets(kept)[-1])
    on = ["--local", "2", "--checkpoint", str(kept), "--resume"]
    length = commands.settings(epochs(steps + MORE, 2))
    resumed = commands.result("train", *words, *length, *on)
    # The learning rate and the end are where they were: no step is taken twice, or left out.
    assert abs(sum(resumed["steps_by_learner"]) - 2 * MORE) < 20
    whole = commands.result_here("simulate", *words, *length)
    assert abs(resumed["accuracy"] - whole["accuracy"]) < TOLERANCE
    assert resumed["loss"] < 1.25 * whole["loss"]
    anew = commands.result_here("simulate", *words, *commands.settings(epochs(MORE, 2)))
    assert anew["loss"] > 1.5 * whole["loss"]


TORCHRUN = [
    *[sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "4"],
    *["-m", "dualrt"],
]

SUPER_LEARNERS = commands.settings("algorithm={name='h-adpsgd', learners_per_group=2}")


def test_super_learners_that_torchrun_ends_keep_all_and_go_on_elsewhere(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    words: list[str | Path] = ["digits-adpsgd", *SUPER_LEARNERS]
    endless = ["--checkpoint-every", "20 steps", *commands.settings("training.epochs=100000")]
    asked = ["train", *words, "--checkpoint", kept, *endless]
    with commands.start(*asked, command=TORCHRUN) as launcher:
        try:
            assert commands.await_(lambda: has_learnt(kept))
            processes = commands.descendants(launcher.pid)
            launcher.terminate()
            _, err = launcher.communicate(timeout=commands.PATIENCE_S)
            assert commands.await_(lambda: not commands.alive(processes))
        finally:
            launcher.kill()
    newest = sets(kept)[-1]
    # Each says so itself, and torchrun has an exit code of its own.
    assert err.count(f"dualrt: the run was asked to end; its checkpoint is {newest}") == 4
    assert list(_parts(newest)) == ["0", "1", "2", "3"]
    words += commands.settings(epochs(step_of(newest) + MORE, 4))
    on = ["--local", "4", "--checkpoint", str(kept), "--resume"]
    resumed = commands.result("train", *words, *on)
    assert sum(resumed["steps_by_learner"]) < 4 * (MORE + 20)
    whole = commands.result_here("simulate", *words)
    assert resumed["accuracy"] > whole["accuracy"] - TOLERANCE
    assert resumed["loss"] < 1.5 * whole["loss"]


def _parts(checkpoint: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((checkpoint / "manifest.json").read_text())["parts"]
    return found
