"""Runs that lost every process they had, and go on from what was kept.

How well a real asynchronous run has learnt is no measure of that: `dualrt train digits-adpsgd
--local 2 --set learners=2 --set training.epochs=9.44`, which nobody disturbed, told losses of 0.15
to 0.37 in eight runs. So here gradients do not depend on the weights (`scenarios/ledger.py`), and
the mean that a run must end at is known whatever the order of things.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from dualrt.composition import Composition
from dualrt.core.progress import WarmupAnneal
from dualrt.core.records import Update
from dualrt.core.workload import Workload
from dualrt.observe.recorder import Applied, files_by_life, read_records
from dualrt.scenario import load
from tests.cli.test_checkpoints import cut, sets, step_of
from tests.support import commands

SCENARIOS = Path(__file__).parent / "scenarios"

HELD, LEDGER = SCENARIOS / "held.toml", SCENARIOS / "ledger.toml"

SCHEDULE = WarmupAnneal(base=0.05, peak=1.0, warmup_epochs=1000, decay=1.0)
"""The ledger's: another rate in each epoch, of 10 samples."""

EPOCH, MOMENTUM = 10, 0.9

LEARNT = 300
"""After so many steps of a learner the digits are learnt, but for some per cent."""

LONG = 800
"""So many that a run is not over before its processes are killed."""

MORE = 300
"""Steps of a learner that are taken when a run goes on."""

LATE = 20
"""More than are taken by all together before all have heard of the end: one or two by each."""


def has_learnt(kept: Path) -> bool:
    """Whether the newest checkpoint is of a learner that has learnt."""
    found = sets(kept)
    return bool(found) and step_of(found[-1]) >= LEARNT


def updates(file: Path) -> list[Update]:
    """Those of one process's records."""
    return [one.update for one in read_records(file) if isinstance(one, Applied)]


def values_of(checkpoint: Path, rank: int) -> dict[str, Any]:
    """What a learner's part has beside tensors."""
    found: dict[str, Any] = json.loads((checkpoint / f"rank-{rank}.json").read_text())["values"]
    return found


def loss(workload: Workload[Any], at: Tensor, rank: int, draw: int) -> float:
    """A learner's, of a mini-batch."""
    found = workload.gradient(at, rank, draw).loss
    assert found is not None
    return found


def test_learners_that_all_die_at_once_go_on_from_what_they_kept(tmp_path: Path) -> None:
    kept, marks, left = tmp_path / "kept", tmp_path / "marks", tmp_path / "left"
    marks.mkdir()
    epochs = (LEARNT + LONG) * 2 * 16 / 1424
    words = ["learners=2", f"training.epochs={epochs}", "real.restarts=1"]
    # What learners say that they have taken is there in the end.
    words.append("real.checkpoints_kept=1000")
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
        "--out",
        left,
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
    returns = {one["rank"]: one["fields"] for one in told if one["event"] == "rejoined"}
    back = returns.values()
    assert returns.keys() == {0, 1}
    # Each as far as it knew of the other.
    assert max(one["updates"] for one in back) >= 2 * LEARNT
    assert min(one["updates"] for one in back) > LEARNT
    assert commands.only_object(out)["faults"]["returns"] == 2
    own = {
        rank: one["taken_from"].partition("its own part of ")[2] for rank, one in returns.items()
    }
    assert any(own.values())
    workload = Composition(load(str(HELD), words), 1.0, 2).workload()
    start = workload.weights(0).snapshot().vector
    for rank, where in own.items():
        if not where:
            continue
        values = values_of(Path(where), rank)
        weights = load_file(Path(where, f"rank-{rank}.safetensors"))["weights"]
        first = updates(files_by_life(left)[rank, 1])[0]
        assert first.step == values["versions"][rank] + 1
        # The very mini-batch that was next, at these weights, or where both have averaged already.
        expected, anew = (loss(workload, at, rank, values["draws"]) for at in (weights, start))
        assert first.loss is not None
        assert abs(first.loss - expected) < 0.5 * abs(anew - expected)
    # A mini-batch for each step, of both lives.
    newest = [values_of(sets(kept)[-1], rank) for rank in range(2)]
    assert all(one["draws"] == one["versions"][rank] for rank, one in enumerate(newest))


def updates_of_both(lives: Sequence[Path], teams: Sequence[Sequence[int]], *words: str) -> int:
    """How many updates a run made that was cut; require that it ended where they must lead.

    `lives` are what its two parts left, `teams` the learners whose gradients are averaged, each
    led by its first, `words` the settings.
    """
    scenario = load(str(LEDGER), list(words))
    workload = Composition(scenario, 1.0, scenario.learners).workload()
    model = load_file(lives[-1] / "model.safetensors")["weights"]
    start = torch.zeros_like(model)
    mean, total = start.clone(), 0
    for team in teams:
        made = [one for life in lives for one in updates(life / f"records-{team[0]}.jsonl")]
        # No step and no mini-batch is left out, or taken twice.
        assert [one.step for one in made] == list(range(1, len(made) + 1))
        assert [one.loss for one in made] == list(range(len(made)))
        # What was known of others' progress is known still.
        assert all(one.epoch < then.epoch for one, then in pairwise(made))
        assert [one.learning_rate for one in made] == [SCHEDULE(one.epoch) for one in made]
        moving = start.clone()
        for draw, one in enumerate(made):
            drawn = [workload.gradient(start, rank, draw).vector for rank in team]
            moving = MOMENTUM * moving + torch.stack(drawn).mean(0)
            mean -= one.learning_rate * moving / len(teams)
        total += len(made)
    # Of some 10, to rounding.
    torch.testing.assert_close(model, mean, rtol=0, atol=1e-9)
    return total


def test_gossip_that_was_ended_goes_on_to_where_it_would_have_led(tmp_path: Path) -> None:
    kept, lives = tmp_path / "kept", [tmp_path / "ended", tmp_path / "resumed"]
    words: list[str | Path] = [LEDGER, "--local", "2"]
    code, err = cut(kept, signal.SIGTERM, *words, "--out", lives[0])
    assert code == 128 + signal.SIGTERM, err
    length = 2 * (step_of(sets(kept)[-1]) + MORE)
    words += commands.settings(f"training.epochs={length / EPOCH}")
    commands.result("train", *words, "--checkpoint", kept, "--resume", "--out", lives[1])
    # The end is where it was.
    assert length <= updates_of_both(lives, [[0], [1]]) < length + LATE


TORCHRUN = [
    *[sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "4"],
    *["-m", "dualrt"],
]

SUPER_LEARNERS = ["learners=4", "algorithm={name='h-adpsgd', learners_per_group=2}"]


def test_super_learners_that_torchrun_ends_keep_all_and_go_on_elsewhere(tmp_path: Path) -> None:
    kept, lives = tmp_path / "kept", [tmp_path / "ended", tmp_path / "resumed"]
    words: list[str | Path] = [LEDGER, *commands.settings(*SUPER_LEARNERS)]
    endless = ["--checkpoint-every", "20 steps", *commands.settings("training.epochs=100000")]
    asked = ["train", *words, "--checkpoint", kept, *endless, "--out", lives[0]]
    with commands.start(*asked, command=TORCHRUN) as launcher:
        try:
            assert commands.await_(lambda: len(sets(kept)) >= 2)
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
    length = 2 * (step_of(newest) + MORE)
    words += commands.settings(f"training.epochs={2 * length / EPOCH}")
    words += ["--local", "4", "--checkpoint", kept, "--resume", "--out", lives[1]]
    resumed = commands.result("train", *words)
    assert length <= updates_of_both(lives, [[0, 1], [2, 3]], *SUPER_LEARNERS) < length + LATE
    steps = resumed["steps_by_learner"]
    assert steps[::2] == steps[1::2]


def _parts(checkpoint: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((checkpoint / "manifest.json").read_text())["parts"]
    return found
