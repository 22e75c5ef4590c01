"""A loop in one process, which is the loop that it would be without us."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import (
    CosineAnnealingLR,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    LRScheduler,
    OneCycleLR,
    SequentialLR,
)

import dualrt
from dualrt.core.errors import UsageError
from dualrt.loop import Group
from tests.support.loops import adam, batches, loss_of, network

POOL: Any = {"batch": 8, "samples_per_epoch": 32}


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> None:
    for _, batch in zip(range(steps), batches(0), strict=False):
        optimizer.zero_grad()
        loss_of(model, batch).backward()
        optimizer.step()


@pytest.mark.parametrize("algorithm", ["adpsgd", "ssgd", "local-sgd"])
def test_one_process_does_what_the_plain_loop_does_bit_for_bit(algorithm: str) -> None:
    plain, joined = network(), network()
    train(plain, adam(plain), 10)
    optimizer = adam(joined)
    with dualrt.join(joined, optimizer, algorithm=algorithm) as group:
        for _, batch in zip(range(10), batches(0), strict=False):
            optimizer.zero_grad()
            loss_of(joined, batch).backward()
            optimizer.step()
            group.step()
    for ours, theirs in zip(joined.parameters(), plain.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_the_end_comes_after_as_many_epochs() -> None:
    model = network()
    optimizer = adam(model)
    with dualrt.join(model, optimizer, epochs=2, **POOL) as group:
        epochs = []
        while not group.finished:
            train(model, optimizer, 1)
            group.step(loss=0.5)
            epochs.append(group.epoch)
        with pytest.raises(UsageError, match=r"Leave the loop when group\.finished is true"):
            group.step()
    assert epochs == [0.25 * step for step in range(1, 9)]
    assert group.summary is not None
    assert (group.summary.updates, group.summary.steps, group.summary.samples) == (8, 8, 64)
    assert group.summary.train_loss == 0.5


def test_records_and_results_are_kept(tmp_path: Path) -> None:
    model = network()
    with dualrt.join(model, adam(model), out=tmp_path) as group:
        group.step()
    kept = sorted(path.name for path in tmp_path.iterdir())
    assert kept == ["records-0.jsonl", "summary.json", "tally.json"]


def test_without_a_pool_there_is_no_epoch() -> None:
    model = network()
    with (
        dualrt.join(model, adam(model)) as group,
        pytest.raises(UsageError, match="give join\\(\\) batch and samples_per_epoch"),
    ):
        _ = group.epoch


def test_what_follows_a_figure_does_not_follow_the_epoch() -> None:
    model = network()
    optimizer = adam(model)
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
    with (
        dualrt.join(model, optimizer, **POOL) as group,
        pytest.raises(UsageError, match="ReduceLROnPlateau follows a figure"),
    ):
        group.follow(plateau)


SCHEDULERS: dict[str, Callable[[torch.optim.Optimizer], LRScheduler]] = {
    "warmup by hand": lambda optimizer: LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / 4)),
    "warmup, then cosine": lambda optimizer: SequentialLR(
        optimizer,
        [LinearLR(optimizer, 0.1, total_iters=4), CosineAnnealingLR(optimizer, 8)],
        milestones=[4],
    ),
    "one cycle": lambda optimizer: OneCycleLR(optimizer, max_lr=0.1, total_steps=12),
    "exponential": lambda optimizer: ExponentialLR(optimizer, 0.9),
}


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_scheduler_is_stepped_as_often_as_it_is_told_in_an_epoch(name: str) -> None:
    model, plain = network(), network()
    optimizer, beside = adam(model), adam(plain)
    expected = SCHEDULERS[name](beside)
    rates, expected_rates = [], []
    with dualrt.join(model, optimizer, epochs=3, **POOL) as group:
        group.follow(SCHEDULERS[name](optimizer), steps_per_epoch=4)
        while not group.finished:
            train(model, optimizer, 1)
            group.step()
            rates.append(optimizer.param_groups[0]["lr"])
            train(plain, beside, 1)
            # Four steps are an epoch of this pool.
            expected.step()
            expected_rates.append(beside.param_groups[0]["lr"])
    assert rates == expected_rates
    assert len(set(rates)) >= 3


def test_a_scheduler_takes_at_least_one_step_an_epoch() -> None:
    model = network()
    optimizer = adam(model)
    with (
        dualrt.join(model, optimizer, **POOL) as group,
        pytest.raises(UsageError, match="steps_per_epoch = 0; give 1 or more"),
    ):
        group.follow(ExponentialLR(optimizer, 0.9), steps_per_epoch=0)


def accumulated(
    model: nn.Module, optimizer: torch.optim.Optimizer, after: Callable[[], None]
) -> None:
    for number, batch in zip(range(9), batches(0), strict=False):
        (loss_of(model, batch) / 3).backward()
        if number % 3 == 2:
            optimizer.step()
            optimizer.zero_grad()
            after()


@pytest.mark.parametrize("algorithm", ["adpsgd", "ssgd"])
def test_gradients_may_be_accumulated(algorithm: str) -> None:
    plain, joined = network(), network()
    accumulated(plain, adam(plain), lambda: None)
    optimizer = adam(joined)
    with dualrt.join(joined, optimizer, algorithm=algorithm) as group:
        accumulated(joined, optimizer, group.step)
    assert group.updates == 3
    for ours, theirs in zip(joined.parameters(), plain.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def cast_and_step(model: nn.Module, group: Group) -> None:
    model.double()
    group.step()


def test_a_model_that_was_moved_is_noticed() -> None:
    model = network()
    with (
        pytest.raises(UsageError, match=r"parameter 0\.weight of Sequential was moved out"),
        dualrt.join(model, adam(model)) as group,
    ):
        cast_and_step(model, group)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"algorithm": "adpsgdd"}, r"dualrt.join: algorithm.name = 'adpsgdd': there is none"),
        ({"algorithm": "asgd"}, r"each loop has an optimizer of its own"),
        ({"groups": 3}, r"dualrt.join: algorithm.groups = 3: is no setting of ADPSGD"),
        (
            {"algorithm": "ssgd", "bucket_bytes": 1024},
            r"dualrt.join: algorithm.bucket_bytes = 1024: a loop of one's own gives its gradient",
        ),
        ({"epochs": 3}, r"epochs = 3 is counted in samples; give batch and samples_per_epoch"),
        ({"batch": 3}, r"give batch and samples_per_epoch both"),
        ({"batch": 3, "samples_per_epoch": 0}, r"samples_per_epoch = 0: a pool has 1 or more"),
        ({"timeout_s": 0.0}, r"dualrt.join: real.timeout_s = 0.0"),
        ({"buffers": "all"}, r"buffers = 'all'; give one of mean, broadcast, local"),
        # What no number of processes could do is told before there are several.
        ({"topology": "rang"}, r"topology.graph = 'rang': .* Did you mean 'ring'\?"),
        ({"topology": "/none.json"}, r"/none.json: there is no such file"),
        ({"mixing": "hulf"}, r"topology.mixing = 'hulf': no mixing is called"),
        ({"period": 0}, r"dualrt.join: algorithm.period = 0"),
        ({"exchange": "lock", "overlap": 2}, r"algorithm.overlap = 2"),
    ],
)
def test_what_cannot_be_is_refused(settings: dict[str, object], message: str) -> None:
    model = network()
    with pytest.raises(UsageError, match=message):
        dualrt.join(model, adam(model), **settings)  # type: ignore[arg-type]  # that is the point


@pytest.mark.parametrize(
    "settings",
    [
        {"topology": "torus:3x4"},
        {"topology": "hypercube"},
        {"exchange": "lock"},
        {"algorithm": "h-adpsgd", "learners_per_group": 24},
        {"algorithm": "h-adpsgd", "learners_per_group": 4, "topology": "path"},
    ],
)
def test_what_some_number_of_processes_can_do_is_not_refused_to_one(settings: Any) -> None:
    model = network()
    optimizer = adam(model)
    with dualrt.join(model, optimizer, **settings) as group:
        train(model, optimizer, 1)
        group.step()


def test_a_folder_of_records_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    model, file = network(), tmp_path / "file"
    file.touch()
    with (
        pytest.raises(UsageError, match=rf"0.jsonl cannot be made \(Not a directory: {file}"),
        dualrt.join(model, adam(model), out=file / "records"),
    ):
        pass
    assert file.stat().st_size == 0


def test_torch_saves_the_parameters_once() -> None:
    model = network()
    before, after = io.BytesIO(), io.BytesIO()
    torch.save(model.state_dict(), before)
    with dualrt.join(model, adam(model)):
        torch.save(model.state_dict(), after)
    assert len(after.getvalue()) < 1.2 * len(before.getvalue())
