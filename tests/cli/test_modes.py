"""`simulate` and `train` on one file: what they print, keep, and agree on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from safetensors.torch import load_file

from dualrt.api import check, simulate
from dualrt.scenario import load
from dualrt.scenario.shipped import find
from dualrt.workloads.quadratic import Quadratic
from dualrt.workloads.torch_weights import TorchWeights
from tests.support import commands

QUADRATIC = ["quadratic-sd-psgd", *commands.settings("training.epochs=0.1")]
"""Four learners, and 32 steps of each."""

GOSSIP = [*QUADRATIC, *commands.settings("algorithm.name=adpsgd")]

KEYS = {
    "algorithm",
    "learners",
    "steps",
    "seconds_per_iteration",
    "hours_per_epoch",
    "staleness",
    "consensus_distance",
    "loss",
    "digest",
    "wall_s",
    "learner_steps_per_s",
}


class Both(NamedTuple):
    """One scenario in either mode, kept."""

    simulated: dict[str, Any]
    real: dict[str, Any]
    folder: Path
    """With `simulated` and `real` in it."""


def in_both_modes(folder: Path, *words: str) -> Both:
    return Both(
        commands.result_here("simulate", *words, "--out", folder / "simulated"),
        commands.result("train", *words, "--local", "4", "--out", folder / "real"),
        folder,
    )


@pytest.fixture(scope="module")
def decentralised(tmp_path_factory: pytest.TempPathFactory) -> Both:
    return in_both_modes(tmp_path_factory.mktemp("sd-psgd"), *QUADRATIC)


@pytest.fixture(scope="module")
def central(tmp_path_factory: pytest.TempPathFactory) -> Both:
    words = [*QUADRATIC, *commands.settings("algorithm.name=ssgd")]
    return in_both_modes(tmp_path_factory.mktemp("ssgd"), *words)


@pytest.mark.parametrize("mode", ["simulated", "real"])
def test_a_run_prints_its_figures_as_one_json_object(decentralised: Both, mode: str) -> None:
    figures = getattr(decentralised, mode)
    assert figures.keys() >= KEYS
    assert figures["mode"] == mode
    assert figures["staleness"].keys() == {"mean", "p50", "p99", "max"}
    assert figures["digest"].keys() == {"timing", "numerics"}
    assert (figures["algorithm"], figures["learners"]) == ("sd-psgd", 4)
    assert figures["steps_by_learner"] == [32] * 4
    assert figures["learner_steps_per_s"] == pytest.approx(figures["steps"] / figures["wall_s"])


def test_a_synchronous_run_ends_at_the_same_bits_in_both_modes(decentralised: Both) -> None:
    simulated, real, _ = decentralised
    assert simulated["digest"]["numerics"] == real["digest"]["numerics"]
    assert simulated["loss"] == real["loss"]
    assert simulated["consensus_distance"] == real["consensus_distance"]


def test_averaging_conserves_the_sum_in_both_modes(decentralised: Both) -> None:
    assert decentralised.simulated["conservation_error"] < 1e-14
    assert decentralised.real["conservation_error"] < 1e-14


@pytest.mark.parametrize("mixing", ["pairwise", "neighbours"])
def test_asynchronous_averaging_conserves_the_sum_between_processes(mixing: str) -> None:
    words = [*GOSSIP, *commands.settings(f"topology.mixing={mixing}", "training.audit=true")]
    figures = commands.result("train", *words, "--local", "4")
    assert figures["conservation_error"] < 1e-6
    assert figures["bytes_sent"] > 0


def test_an_allreduce_ends_at_the_same_weights_to_rounding(central: Both) -> None:
    simulated, real, folder = central
    assert simulated["loss"] == pytest.approx(real["loss"], rel=1e-5)
    assert (simulated["consensus_distance"], real["consensus_distance"]) == (0, 0)
    theirs, ours = (
        load_file(folder / mode / "model.safetensors")["weights"] for mode in ("real", "simulated")
    )
    assert float((ours - theirs).norm()) <= 1e-5 * float(ours.norm())


def test_an_allreduce_in_buckets_ends_at_the_same_weights_to_rounding(tmp_path: Path) -> None:
    words = ["digits-adpsgd", "--seed", "3"]
    words += commands.settings("algorithm.name=ssgd", "algorithm.bucket_bytes=2000", "learners=2")
    words += commands.settings("training.epochs=0.5")
    commands.result_here("simulate", *words, "--out", tmp_path / "simulated")
    commands.result("train", *words, "--local", "2", "--out", tmp_path / "real")
    simulated, real = (
        load_file(tmp_path / mode / "model.safetensors")["weights"]
        for mode in ("simulated", "real")
    )
    assert float((simulated - real).norm()) <= 1e-5 * float(simulated.norm())
    records = (tmp_path / "real" / "records-0.jsonl").read_text()
    pieces = records.count('"allreduce"')
    assert pieces > records.count('"gradient"') > 0


def test_buckets_that_a_workload_cannot_fill_are_warned_about() -> None:
    quadratic = find("sims", "quadratic-sd-psgd")
    assert quadratic is not None
    said = check(load(quadratic, ["algorithm.name=ssgd", "algorithm.bucket_bytes=8"]))
    assert any("algorithm.bucket_bytes has no effect: workload quadratic" in one for one in said)


def test_the_model_that_is_kept_is_the_one_that_was_evaluated(decentralised: Both) -> None:
    models = [
        load_file(decentralised.folder / mode / "model.safetensors")["weights"]
        for mode in ("simulated", "real")
    ]
    assert models[0].equal(models[1])
    assert float(models[0].norm()) > 0


@pytest.mark.parametrize(("mode", "recorders"), [("simulated", 1), ("real", 4)])
def test_a_kept_run_holds_what_was_run_and_what_came_of_it(
    decentralised: Both, mode: str, recorders: int
) -> None:
    folder = decentralised.folder / mode
    kept = {"scenario.toml", "summary.json", "tally.json", "model.safetensors", "picture.png"}
    records = {f"records-{rank}.jsonl" for rank in range(recorders)}
    assert {path.name for path in folder.iterdir()} == kept | records
    assert all(path.stat().st_size > 0 for path in folder.iterdir())
    assert json.loads((folder / "summary.json").read_text()) == getattr(decentralised, mode)


def test_the_kept_scenario_is_the_same_run(decentralised: Both) -> None:
    again = commands.result_here("simulate", decentralised.folder / "simulated" / "scenario.toml")
    assert again["digest"] == decentralised.simulated["digest"]


def test_kept_runs_are_compared(decentralised: Both) -> None:
    folders = (decentralised.folder / "simulated", decentralised.folder / "real")
    compared = commands.result_here("compare", *folders)
    assert [run["mode"] for run in compared["runs"]] == ["simulated", "real"]
    done = commands.here("compare", *folders)
    assert (done.returncode, done.stderr) == (0, "")
    assert "held-out loss" in done.stdout


def test_a_folder_in_use_is_refused(decentralised: Both) -> None:
    used = decentralised.folder / "real"
    for words in (["simulate"], ["train", "--local", "4"]):
        done = commands.here(*words, *QUADRATIC, "--out", used)
        assert (done.returncode, done.stdout) == (2, "")
        assert f"--out {used} is there already. Name a new folder" in done.stderr


@pytest.fixture(scope="module")
def gossiped() -> dict[str, Any]:
    return commands.result("simulate", *GOSSIP, env={"PYTHONHASHSEED": "1"})


def test_a_seed_replays_an_asynchronous_run_under_any_hash_seed(gossiped: dict[str, Any]) -> None:
    again = commands.result("simulate", *GOSSIP, env={"PYTHONHASHSEED": "2"})
    assert again["digest"] == gossiped["digest"]


def test_another_seed_is_another_run(gossiped: dict[str, Any]) -> None:
    other = commands.result_here("simulate", *GOSSIP, "--seed", "2")
    assert other["digest"]["timing"] != gossiped["digest"]["timing"]
    assert other["digest"]["numerics"] != gossiped["digest"]["numerics"]


def test_a_classifier_has_an_accuracy() -> None:
    figures = commands.result_here(
        "simulate", "digits-adpsgd", *commands.settings("training.epochs=1", "learners=2")
    )
    assert 0 < figures["accuracy"] < 1


def test_a_graph_that_nobody_uses_is_warned_about_on_stderr() -> None:
    unused = commands.settings("algorithm.name=ssgd", "topology.graph=complete")
    done = commands.here("simulate", *QUADRATIC, *unused, "--json")
    assert done.returncode == 0
    assert "topology.graph has no effect: ssgd uses no communication graph" in done.stderr
    assert json.loads(done.stdout)["algorithm"] == "ssgd"


def test_collectives_that_nobody_calls_are_warned_about_on_stderr() -> None:
    unused = commands.settings("cluster.file=desk", "cluster.collectives.algorithm=ring")
    done = commands.here("simulate", *QUADRATIC, *unused, "--json")
    assert done.returncode == 0
    assert "cluster.collectives.algorithm has no effect: sd-psgd calls no" in done.stderr


@pytest.mark.parametrize(("momentum", "vectors"), [(0.0, 2), (0.9, 3)])
def test_a_model_that_does_not_fit_its_device_is_warned_about(
    momentum: float, vectors: int
) -> None:
    frozen, trained = 4 * (100 * 100 + 100), 4 * (100 * 2 + 2)
    least = vectors * trained + frozen
    phantom = commands.settings(
        'workload={name="module-phantom",module="tests.support.adapted:Adapted",inputs=[[100]],'
        "samples_per_epoch=640,batch=32}",
        "simulation.numerics=false",
        "cluster.file=desk",
        f"training.optimizer.momentum={momentum}",
    )
    words = ["simulate", *QUADRATIC, *phantom, "--json"]
    known = commands.here(*words, *commands.settings(f"cluster.device.memory_bytes={least}"))
    assert json.loads(known.stdout)["memory"] == {"least_bytes": least, "device_bytes": least}
    assert "memory_bytes" not in known.stderr
    small = commands.here(*words, *commands.settings(f"cluster.device.memory_bytes={least - 1}"))
    assert small.returncode == 0
    assert "a learner keeps" in small.stderr
    assert ("gradient, momentum" in small.stderr) == (momentum > 0)
    assert "memory" not in json.loads(commands.here(*words).stdout)


@pytest.mark.parametrize(("dtype", "bytes_each"), [("float32", 4), ("float64", 8)])
def test_what_a_learner_keeps_is_counted_in_its_type_without_a_model_more(
    monkeypatch: pytest.MonkeyPatch, dtype: str, bytes_each: int
) -> None:
    made, whole = list[int](), Quadratic.weights

    def weights(self: Quadratic, rank: int) -> TorchWeights:
        made.append(rank)
        return whole(self, rank)

    monkeypatch.setattr(Quadratic, "weights", weights)
    options = [
        f"workload.dtype={dtype}",
        "workload.dimension=100",
        "cluster.file=desk",
        "training.epochs=0.01",
        "cluster.device.memory_bytes=1e9",
    ]
    quadratic = find("sims", "quadratic-sd-psgd")
    assert quadratic is not None
    scenario = load(quadratic, options)
    memory = simulate(scenario).summary.memory
    assert memory is not None
    assert memory.least_bytes == 2 * 100 * bytes_each
    assert made == list(range(scenario.learners))


def test_what_cannot_be_cut_into_tensors_is_warned_about() -> None:
    options = ["algorithm.name=ssgd", "cluster.file=desk", "cluster.collectives.granularity=tensor"]
    quadratic = find("sims", "quadratic-sd-psgd")
    assert quadratic is not None
    (warning,) = (said for said in check(load(quadratic, options)) if "granularity" in said)
    assert warning.endswith("has no effect: workload quadratic is one tensor")


@pytest.mark.parametrize("mode", [["simulate"], ["train", "--local", "2"]])
def test_what_a_learner_prints_does_not_mix_with_the_result(mode: list[str]) -> None:
    command, *words = mode
    scenario = commands.ROOT / "tests/cli/scenarios/chatty.toml"
    done = commands.run(command, scenario, *words, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["algorithm"] == "chatty:Chatty"
    assert "a line of learner 1" in done.stderr
    assert "no end of line" in done.stderr
