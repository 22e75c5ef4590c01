"""Loops that are kept, and go on: alone, and with another process."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn
from torch.optim.lr_scheduler import LambdaLR, StepLR

import dualrt
from dualrt.core.errors import PreemptedError, RunError, UsageError
from dualrt.loop.group import Group
from tests.support.commands import await_
from tests.support.loops import BATCH, batches, flat, loss_of
from tests.support.processes import ended, started

POOL: Any = {"batch": BATCH, "samples_per_epoch": 32, "epochs": 3}
"""Twelve steps of a learner alone."""


class BrokenError(Exception):
    """What ends a run in its midst."""


def normalised() -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 1))


def trained(breaks_at: int = 0, told_at: int = 0, **settings: Any) -> list[float]:
    """A model after all twelve steps, whoever made them."""
    model = normalised()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.05)
    scheduler = StepLR(optimizer, 1, gamma=0.5)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0, growth_interval=2)
    keep = {"scaler": scaler} if "checkpoint" in settings else {}
    with dualrt.join(model, optimizer, keep=keep, **POOL, **settings) as group:
        group.follow(scheduler)
        for batch in islice(batches(0), group.steps, None):
            if group.finished:
                break
            optimizer.zero_grad()
            scaler.scale(loss_of(model, batch)).backward()
            scaler.step(optimizer)
            scaler.update()
            if group.steps + 1 == told_at:
                signal.raise_signal(signal.SIGTERM)
                # The signal is heeded by a thread.
                assert await_(lambda: not named("preemption"))
            group.step()
            if group.steps == breaks_at:
                raise BrokenError
    assert group.steps == 12
    return [*flat(model), optimizer.param_groups[0]["lr"], scaler.get_scale()]


def broken(**settings: Any) -> None:
    with pytest.raises(BrokenError):
        trained(**settings)


@pytest.mark.parametrize("breaks_at", [3, 5, 11])
def test_a_loop_that_goes_on_alone_ends_with_the_same_bits(tmp_path: Path, breaks_at: int) -> None:
    kept: Any = {"checkpoint": tmp_path / "kept", "checkpoint_every": "3 steps"}
    broken(breaks_at=breaks_at, **kept)
    assert trained(**kept, resume=True) == trained()


def named(name: str) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == name]


def test_a_loop_that_is_told_to_end_goes_on_from_there(tmp_path: Path) -> None:
    kept: Any = {"checkpoint": tmp_path, "checkpoint_every": "1 h"}
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(PreemptedError, match=r"its checkpoint is .*step-00000005") as told:
        trained(told_at=5, **kept)
    # As the signal itself would have it.
    assert isinstance(told.value, SystemExit)
    assert told.value.code == 143
    assert signal.getsignal(signal.SIGTERM) == before
    assert trained(**kept, resume=True) == trained()


def test_a_loop_that_comes_to_its_end_meanwhile_ends_as_always(tmp_path: Path) -> None:
    assert trained(told_at=12, checkpoint=tmp_path) == trained()


def test_a_script_that_is_told_to_end_says_where_its_state_is(tmp_path: Path) -> None:
    with started("tests.support.kept_loops", str(tmp_path), "until_told", processes=1) as running:
        [process] = running
        assert process.stdout is not None
        assert process.stdout.readline() == "going\n"
        process.send_signal(signal.SIGTERM)
        code, _, err = ended(process)
    [kept] = tmp_path.iterdir()
    assert (code, err) == (143, f"the run was asked to end; its checkpoint is {kept}\n")
    assert (kept / "manifest.json").exists()


def test_a_run_that_was_over_is_over(tmp_path: Path) -> None:
    kept: Any = {"checkpoint": tmp_path, "checkpoint_every": "12 steps"}
    whole = trained(**kept)
    assert trained(**kept, resume=True) == whole


def test_few_checkpoints_stay_and_no_dualrt_is_needed_to_open_one(tmp_path: Path) -> None:
    trained(checkpoint=tmp_path, checkpoint_every="2 steps", checkpoints_kept=3)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"step-{number:08d}" for number in (8, 10, 12)
    ]
    newest = tmp_path / "step-00000012"
    tensors = load_file(newest / "rank-0.safetensors")
    assert tensors["weights"].shape == (65,)
    assert tensors["loop.untrained.1.running_mean"].shape == (8,)
    values = json.loads((newest / "rank-0.json").read_text())["values"]
    assert (values["versions"], values["loop"]["steps"]) == ([12], 12)


def test_one_that_is_cut_short_is_passed_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kept: Any = {"checkpoint": tmp_path, "checkpoint_every": "3 steps"}
    broken(breaks_at=7, **kept)
    with (tmp_path / "step-00000006" / "rank-0.safetensors").open("r+b") as file:
        file.truncate(100)
    assert trained(**kept, resume=True) == trained()
    assert "the one before it is tried" in caplog.text


def joined(tmp_path: Path, model: nn.Module | None = None, **settings: Any) -> Group:
    model = model or normalised()
    settings = {"checkpoint": tmp_path, "resume": True, **POOL, **settings}
    return dualrt.join(model, torch.optim.SGD(model.parameters(), lr=0.1), **settings)


def entered(group: Callable[[], Group]) -> None:
    with group():
        pass


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"resume": False}, r"holds checkpoints already. Go on from them with resume=True"),
        ({"checkpoint": None}, r"resume = True, and no checkpoint"),
        ({"checkpoint_every": "often"}, r"real.checkpoint_every = 'often'"),
        ({"keep": {"it": 3}}, r"keep = {'it': ...}: a int has no state_dict"),
        (
            {"keep": {"it": torch.amp.GradScaler("cpu")}},
            r"it holds no keep.it, which is to be taken from it",
        ),
        ({"seed": 2}, r"it is of another run: there seed = 1, and here 2"),
        ({"model": nn.Linear(4, 1)}, r"it has 65 parameters, and this model 5"),
        ({}, r"its optimizer is of AdamW, and here it is of SGD"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused(
    tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    broken(breaks_at=4, checkpoint=tmp_path, checkpoint_every="3 steps")
    with pytest.raises(UsageError, match=message):
        entered(lambda: joined(tmp_path, **settings))


def test_a_folder_without_checkpoints_is_not_gone_on_from(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"holds no checkpoint to resume=True from"):
        entered(lambda: joined(tmp_path))


def test_what_cannot_be_kept_is_found_at_the_start(tmp_path: Path) -> None:
    model = normalised()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scheduler = LambdaLR(optimizer, lambda epoch: 1.0)
    # As a scheduler of the user's own may have.
    vars(scheduler)["odd"] = object()
    with (
        pytest.raises(RunError, match=r"loop\.keep\.rate\.odd is a object"),
        dualrt.join(model, optimizer, checkpoint=tmp_path, keep={"rate": scheduler}),
    ):
        pass


def test_metrics_show_a_loop_s_figures(tmp_path: Path) -> None:
    trained(metrics=f"tensorboard:{tmp_path}")
    found = EventAccumulator(str(tmp_path / "adpsgd" / "rank-0"))
    found.Reload()
    # As it was when the last update was applied.
    assert found.Scalars("epoch")[-1].value == pytest.approx(2.75)


def test_metrics_that_cannot_be_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--metrics graphite: that is none"):
        joined(tmp_path, checkpoint=None, resume=False, metrics="graphite")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("pair")
    names = (
        "kept_in_lock_step",
        "kept_apart",
        "kept_of_another_model",
        "refused_by_one",
        "told_to_end",
    )
    with started("tests.support.kept_loops", str(folder), *names, processes=2) as running:
        ends = [ended(process) for process in running]
    for code, _, err in ends:
        # Each of them is told to end twice, and says so.
        assert (code, err.count("\n")) == (0, 2), err
        assert err.count("the run was asked to end; its checkpoint is ") == 2
    return [json.loads(out) for _, out, _ in ends]


def test_in_lock_step_a_run_that_goes_on_ends_with_the_same_bits(
    pair: list[dict[str, Any]],
) -> None:
    for one in pair:
        told = one["kept_in_lock_step"]
        assert 6 <= told["began_at"] <= 12
        assert told["resumed"] == told["whole"]


def test_asynchronous_learners_go_on_from_one_instant(pair: list[dict[str, Any]]) -> None:
    first, second = (one["kept_apart"] for one in pair)
    # The sum of weights is that of the start and of all updates, of both runs.
    assert first["conservation_error"] < 1e-5
    assert first["model"] == second["model"]
    for one in (first, second):
        # What the optimizer has counted is what this process's loop has done.
        assert one["moments"] == [one["steps"]] * 4
        assert one["steps"] == one["began_at"] + 8 > 8
        # The other may have made all of its steps before this process asked.
        least, most = one["began_at"], first["began_at"] + second["began_at"] + 8
        assert least <= one["updates_at_the_start"] <= most


def test_all_end_with_what_one_process_refuses(pair: list[dict[str, Any]]) -> None:
    for one in pair:
        folder, model = one["refused_by_one"]
        assert folder.startswith("UsageError: checkpoint ")
        assert "lock-step holds checkpoints already. Go on from them with resume=True" in folder
        assert model == "UsageError: Sequential has no parameter that requires a gradient"


@pytest.mark.parametrize("algorithm", ["adpsgd", "ssgd"])
def test_all_end_with_a_checkpoint_when_one_process_is_told_to(
    pair: list[dict[str, Any]], algorithm: str
) -> None:
    first, second = (one["told_to_end"][algorithm] for one in pair)
    assert first["said"] == second["said"]
    assert first["said"].startswith("the run was asked to end; its checkpoint is ")
    for one in (first, second):
        assert one["began_at"] == one["steps"] >= 1
        assert one["ended_at"] == one["began_at"] + 3
    assert second["steps"] >= 5


def test_all_processes_refuse_what_one_cannot_use(pair: list[dict[str, Any]]) -> None:
    for one in pair:
        assert one["kept_of_another_model"].startswith("UsageError: no checkpoint in ")
        assert "its optimizer is of AdamW, and here it is of SGD" in one["kept_of_another_model"]
