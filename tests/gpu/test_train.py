"""Real runs of several processes on one GPU, by every algorithm, and what they leave."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tests.support import commands

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here"),
]

ALGORITHMS = {
    "adpsgd": "{name='adpsgd'}",
    "ahead": "{name='adpsgd', overlap=4}",
    "h-adpsgd": "{name='h-adpsgd', learners_per_group=2}",
    "local-sgd": "{name='local-sgd', period=4}",
    "sd-psgd": "{name='sd-psgd'}",
    # The gradient of the digits' network is of 25 kB: two buckets.
    "ssgd": "{name='ssgd', bucket_bytes=4096}",
}

SHARED = commands.settings("real.device=cuda-shared", "training.audit=true")

TWO = commands.settings("learners=2")

LEARNT = 0.8
"""Accuracy that every run reaches, whatever the order of things; a guess is right in 0.1."""


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_learners_that_share_a_gpu_learn_the_digits(algorithm: str) -> None:
    words = ["digits-adpsgd", *SHARED, *commands.settings(f"algorithm={ALGORITHMS[algorithm]}")]
    told = commands.result("train", *words, "--local", "4")
    assert told["accuracy"] > LEARNT
    assert told["conservation_error"] < 1e-5


def test_all_wait_for_a_straggler_with_each_bucket() -> None:
    words = ["digits-adpsgd", *SHARED, *TWO, *commands.settings("training.epochs=4")]
    words += commands.settings(f"algorithm={ALGORITHMS['ssgd']}")
    slow = commands.settings("faults.stragglers=[{learner=0, factor=4}]")
    free, held = (commands.result("train", *words, *more, "--local", "2") for more in ([], slow))
    assert held["steps_by_learner"] == free["steps_by_learner"]
    # Rounding apart, numbers do not depend on how long anything took.
    assert held["loss"] == pytest.approx(free["loss"], rel=1e-2)


@pytest.mark.parametrize(
    "recipe",
    [
        ["training.wire='bfloat16'"],
        ["training.wire='top-k'", "training.wire_fraction=0.1"],
        ["training.precision='bfloat16'", "training.clip_norm=1.0"],
        ["training.accumulate=4", "training.optimizer.momentum=0.9"],
    ],
    ids=["bfloat16 wire", "top-k", "bfloat16 and clipped", "in parts with momentum"],
)
def test_any_recipe_learns_on_a_gpu(recipe: list[str]) -> None:
    rate = commands.settings("training.schedule.rate=0.05", *recipe)
    told = commands.result("train", "digits-adpsgd", *SHARED, *rate, "--local", "2", *TWO)
    assert told["accuracy"] > LEARNT
    assert told["conservation_error"] < 1e-5


def test_a_run_goes_on_from_its_checkpoint_on_a_gpu(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    words = ["digits-adpsgd", *SHARED, *TWO, "--local", "2", "--checkpoint", str(kept)]
    words += ["--checkpoint-every", "20 steps"]
    half = commands.result("train", *words, *commands.settings("training.epochs=10"))
    whole = commands.result("train", *words, "--resume")
    # Of twice as many those that were not taken before the last checkpoint, of 20 steps at least.
    assert sum(whole["steps_by_learner"]) < 2 * sum(half["steps_by_learner"]) - 20
    assert whole["accuracy"] > LEARNT


def test_one_learner_has_the_gpu_to_itself_unless_told_otherwise() -> None:
    with commands.start("train", "digits-adpsgd", "--local", "1", "--json", *ONE) as process:
        out, err = process.communicate(timeout=commands.PATIENCE_S)
    assert process.returncode == 0, err
    begun = [json.loads(line) for line in err.splitlines() if '"begun"' in line]
    assert [one["fields"]["device"] for one in begun] == ["cuda:0"]
    assert commands.only_object(out)["accuracy"] > LEARNT


ONE = [*commands.settings("learners=1"), "--log-level", "info", "--log-format", "json"]


def test_a_gpu_for_two_is_refused_unless_they_are_to_share_it() -> None:
    if torch.cuda.device_count() > 1:
        pytest.skip("there is a GPU for each")
    wanted = commands.settings("real.device=cuda")
    done = commands.run("train", "digits-adpsgd", "--local", "2", *TWO, *wanted)
    assert done.returncode == 2
    assert "real.device=cuda-shared" in done.stderr
