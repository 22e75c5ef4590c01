"""`dualrt train --checkpoint`: a run that was cut goes on, and what cannot be used is refused."""

from __future__ import annotations

import errno
import os
import re
import signal
from pathlib import Path
from typing import Any, cast

import pytest
from safetensors.torch import load_file

from dualrt import api
from dualrt.composition import Composition
from dualrt.core.errors import PreemptedError, UsageError
from dualrt.core.records import Observer, Update
from dualrt.keeping import Preemption, Wish, begin
from dualrt.observe.summary import Summary
from dualrt.real.attempts import Keeping
from dualrt.real.rendezvous import Launch
from dualrt.real.session import Session
from dualrt.scenario import load
from tests.support import commands
from tests.support.simulated import Log

DIGITS = ["training.optimizer.momentum=0.9", "training.schedule.rate=0.05"]

STEPS_AN_EPOCH = 89
"""Of one learner alone: a pool of 1,424 samples, in mini-batches of 16."""


def sets(folder: Path) -> list[Path]:
    """Those that are whole, oldest first."""
    return sorted(path.parent for path in folder.glob("step-*/manifest.json"))


def step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix("step-"))


def cut(folder: Path, number: signal.Signals, *words: str | Path) -> tuple[int, str]:
    """Train for hours, but for a signal after some checkpoints; how it ends, and what it says.

    SIGKILL is for all of its processes, as when a machine fails.
    """
    endless = commands.settings("training.epochs=100000")
    every: list[str | Path] = ["--checkpoint", folder, "--checkpoint-every", "20 steps"]
    # Nobody is left who could remove what is temporary.
    env = {"TMPDIR": str(folder.parent)}
    with commands.start("train", *words, *endless, *every, env=env) as parent:
        try:
            assert commands.await_(lambda: len(sets(folder)) >= 2)
            processes = commands.descendants(parent.pid)
            killed = [pid for pid, _ in processes] if number is signal.SIGKILL else [parent.pid]
            for pid in killed:
                os.kill(pid, number)
            _, err = parent.communicate(timeout=commands.PATIENCE_S)
            assert commands.await_(lambda: not commands.alive(processes))
        finally:
            parent.kill()
    return parent.returncode, err


# Two learners, as the sum of two numbers is the same in any order.
@pytest.mark.parametrize(
    ("algorithm", "number"), [("ssgd", signal.SIGTERM), ("sd-psgd", signal.SIGKILL)]
)
def test_a_run_that_was_cut_ends_at_the_bits_of_one_that_was_not(
    algorithm: str, number: signal.Signals, tmp_path: Path
) -> None:
    kept = tmp_path / "kept"
    settings = commands.settings(*DIGITS, f"algorithm.name={algorithm}", "learners=2")
    words = ["digits-adpsgd", *settings]
    code, told = cut(kept, number, *words, "--local", "2")
    newest = sets(kept)[-1]
    if number is signal.SIGTERM:
        assert code == 128 + number
        last = f"dualrt: the run was asked to end; its checkpoint is {newest}"
        assert told.splitlines()[-1] == last
    steps = step_of(newest) + 10
    words += commands.settings(f"training.epochs={2 * steps / STEPS_AN_EPOCH}")
    on: list[str | Path] = [
        "--local",
        "2",
        "--checkpoint",
        kept,
        "--resume",
        "--out",
        tmp_path / "resumed",
    ]
    resumed = commands.result("train", *words, *on)
    assert resumed["steps_by_learner"] == [10, 10]
    # In lock-step both modes have the same bits.
    whole = commands.result_here("simulate", *words, "--out", tmp_path / "whole")
    assert whole["steps_by_learner"] == [steps, steps]
    assert resumed["digest"]["numerics"] == whole["digest"]["numerics"]
    models = [
        load_file(tmp_path / run / "model.safetensors")["weights"] for run in ("resumed", "whole")
    ]
    assert models[0].equal(models[1])


def train(*settings: str, observer: Observer | None = None, **wish: Any) -> Summary:
    """One learner, in this process."""
    scenario = load("digits-adpsgd", [*DIGITS, "learners=1", *settings])
    launch = Launch(0, 1, 0, 1)
    outcome = api.train(scenario, launch, observer=observer, checkpoints=Wish(**wish))
    assert outcome is not None
    return outcome.summary


class Asking(Log):
    """Asks for the end once two checkpoints are there."""

    def __init__(self, folder: Path, preemption: Preemption) -> None:
        super().__init__()
        self.folder, self.preemption = folder, preemption

    def update(self, time_s: float, update: Update) -> None:
        if len(sets(self.folder)) >= 2:
            self.preemption.ask()


def test_a_word_that_comes_before_the_run_is_under_way_is_heeded(tmp_path: Path) -> None:
    preemption = Preemption()
    preemption.ask()
    with pytest.raises(PreemptedError, match="its checkpoint is "):
        train("training.epochs=100000", folder=tmp_path, preemption=preemption)


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """A run's two newest checkpoints."""
    folder, preemption = tmp_path / "kept", Preemption()
    with pytest.raises(PreemptedError):
        train(
            "real.checkpoint_every=10 steps",
            "training.epochs=100000",
            observer=Asking(folder, preemption),
            folder=folder,
            preemption=preemption,
        )
    assert len(sets(folder)) == 2
    return folder


def until(step: int) -> str:
    """The setting of a run of so many steps."""
    return f"training.epochs={step / STEPS_AN_EPOCH}"


def truncate(checkpoint: Path) -> None:
    tensors = checkpoint / "rank-0.safetensors"
    tensors.write_bytes(tensors.read_bytes()[:1000])


def test_one_that_was_truncated_is_told_and_the_one_before_it_is_used(
    kept: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before, newest = sets(kept)
    truncate(newest)
    summary = train(until(step_of(before) + 7), folder=kept, resume=True)
    assert summary.steps == 7
    [warning] = [one.getMessage() for one in caplog.records]
    assert warning.startswith(f"checkpoint {newest}: rank-0.safetensors has 1000 bytes, and had ")
    assert warning.endswith("; the one before it is tried")


def test_where_none_can_be_used_each_is_named(kept: Path) -> None:
    before, newest = sets(kept)
    truncate(before)
    (newest / "manifest.json").unlink()
    with pytest.raises(UsageError, match=f"no checkpoint in {kept} can be used:") as refused:
        train(folder=kept, resume=True)
    assert f"\n  {before}: rank-0.safetensors has 1000 bytes, and had " in str(refused.value)
    assert f"\n  {newest}: it has no manifest.json: its writing was cut" in str(refused.value)


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("workload.batch=8", "there workload.batch = 16, and here 8"),
        ("algorithm.name=ssgd", "there algorithm.name = 'adpsgd', and here 'ssgd'"),
        ("seed=7", "there seed = 1, and here 7"),
    ],
)
def test_one_of_another_run_is_refused(kept: Path, setting: str, told: str) -> None:
    with pytest.raises(UsageError, match=f"it is of another run: {told}"):
        train(setting, folder=kept, resume=True)


def test_a_crash_that_has_happened_does_not_happen_again(kept: Path) -> None:
    """Were it to, this process would be killed."""
    end = until(step_of(sets(kept)[-1]) + 7)
    crash = "faults.crashes=[{learner=0, at_step=1}]"
    assert train(end, crash, folder=kept, resume=True).steps == 7


def test_checkpoints_are_not_written_over(kept: Path) -> None:
    with pytest.raises(UsageError, match="holds checkpoints already"):
        train(folder=kept)


def test_a_folder_that_may_not_be_written_to_is_told_before_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a file system that is mounted read-only, whoever asks."""

    def refused(path: str, mode: int = 0o777) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)

    monkeypatch.setattr(os, "mkdir", refused)
    with pytest.raises(UsageError, match=rf"{tmp_path} cannot be written to \(Read-only"):
        train(folder=tmp_path / "new" / "one")


class Alone:
    """The session of a process that hears itself alone."""

    def exchange(self, what: str, ours: str) -> list[str]:
        return [ours]


def absent(tmp_path: Path, algorithm: str) -> tuple[Keeping, bool]:
    """What learner 1 of 2 begins with, from a checkpoint that was taken while it was lost."""
    scenario = load("digits-adpsgd", ["learners=2", f"algorithm.name={algorithm}"])
    composition = Composition(scenario, 1.0, 2)
    workload = composition.workload()
    first, second = (composition.learner(rank, workload) for rank in range(2))
    wish = Wish(tmp_path)
    made, _ = begin(scenario, cast(Session, Alone()), first, wish)
    made.checkpoints.complete(40, {0: made.checkpoints.write(40, first.state())}, 2)
    return begin(scenario, cast(Session, Alone()), second, Wish(tmp_path, resume=True))


def test_a_learner_that_was_lost_then_asks_the_others_for_their_weights(tmp_path: Path) -> None:
    made, rejoins = absent(tmp_path, "adpsgd")
    assert (made.after, rejoins) == (40, True)


def test_one_without_a_learner_that_cannot_rejoin_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="it is without learner 1, and the algorithm takes nobody"):
        absent(tmp_path, "sd-psgd")


def test_the_page_opens_one_without_dualrt(
    kept: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (commands.ROOT / "docs" / "checkpoints.md").read_text()
    snippet = re.findall(r"```python\n(.*?)```", page, re.DOTALL)[0]
    assert "import dualrt" not in snippet
    monkeypatch.chdir(kept.parent)
    found: dict[str, Any] = {}
    exec(snippet, found)
    last = step_of(sets(kept)[-1])
    told = f"1 learners, 6310 parameters; learner 0 has drawn {last} mini-batches\n"
    assert capsys.readouterr().out == told
    assert found["mean"].equal(load_file(sets(kept)[-1] / "rank-0.safetensors")["weights"])


NO_PAUSE = "algorithm.name=chatty:Chatty"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--resume"], "--resume goes with --checkpoint DIR"),
        (["--checkpoint-every", "5 s"], "--checkpoint-every goes with --checkpoint DIR"),
        (["--checkpoint", "new", "--resume"], "holds no checkpoint to --resume from"),
        (["--checkpoint", "README.md"], "--checkpoint README.md is no folder"),
        (["--checkpoint", "README.md/new"], "README.md/new is no folder, as "),
        (
            ["--checkpoint", "new", "--checkpoint-every", "often"],
            "real.checkpoint_every = 'often': is no interval",
        ),
        (["--checkpoint", "new", "--set", NO_PAUSE], "it does not say how its learners pause"),
    ],
)
def test_what_cannot_be_asked_for_is_told(words: list[str], told: str) -> None:
    scenario = commands.ROOT / "tests/cli/scenarios/chatty.toml"
    first = [] if NO_PAUSE in words else commands.settings("algorithm.name=ssgd")
    done = commands.here("train", scenario, "--local", "2", *first, *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert told in done.stderr
