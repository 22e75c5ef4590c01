"""A loop in each of several processes."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import ended, started

LOOPS = "tests.support.loops"
PAIR = (
    "synchronous",
    "decentralised",
    "asynchronous",
    "one_cycle",
    "scaled",
    "everything_untouched",
    "buffers",
    "periodic",
)
FAILING = ("an_error", "another_model", "used_by_one")
LAST = "beside_torch_distributed"

Told = list[dict[str, Any]]
"""By rank, what each loop came to."""


def told(
    *names: str, processes: int = 0, nodes: tuple[int, ...] = (), first_serves: bool = False
) -> Told:
    with started(
        LOOPS, *names, processes=processes, nodes=nodes, first_serves=first_serves
    ) as running:
        ends = [ended(process) for process in running]
    for code, _, err in ends:
        assert (code, err) == (0, "")
    return [json.loads(out) for _, out, _ in ends]


@pytest.fixture(scope="module")
def pair() -> Told:
    return told(*PAIR, *FAILING, LAST, processes=2)


@pytest.fixture(scope="module")
def four() -> Told:
    return told("hierarchical", "asynchronous", processes=4)


@pytest.mark.parametrize("loop", ["synchronous", "decentralised"])
def test_lock_step_algorithms_do_what_their_equations_say(pair: Told, loop: str) -> None:
    for one in pair:
        assert one[loop]["model"] == pytest.approx(one[loop]["expected"], abs=1e-6)


@pytest.mark.parametrize("loop", [*PAIR[:4], "periodic", LAST])
def test_every_process_ends_with_the_same_model(pair: Told, loop: str) -> None:
    first, second = pair
    assert first[loop]["model"] == second[loop]["model"]


def test_averaging_conserves_the_sum_over_learners(pair: Told, four: Told) -> None:
    for first in (pair[0], four[0]):
        assert first["asynchronous"]["summary"]["conservation_error"] < 1e-5
    assert four[0]["hierarchical"]["summary"]["conservation_error"] < 1e-5


def test_the_end_is_agreed_and_counted(pair: Told) -> None:
    summary = pair[0]["asynchronous"]["summary"]
    # 4 epochs of 64 samples; who is under way when the end comes makes one more.
    assert 16 <= summary["updates"] <= 18
    assert summary["samples"] == 16 * summary["updates"]
    assert summary["train_loss"] is not None


def test_a_scheduler_follows_the_epoch_of_all(pair: Told) -> None:
    for one in pair:
        for epoch, rate in one["asynchronous"]["rates"]:
            assert rate == pytest.approx(0.05 * 0.5 ** int(epoch))


def test_a_scheduler_is_stepped_several_times_an_epoch_and_never_beyond_the_end(
    pair: Told,
) -> None:
    for one in pair:
        for epoch, rate in one["one_cycle"]["rates"]:
            assert rate == one["one_cycle"]["course"][min(16, int(8 * epoch))]


def test_a_loop_may_send_few_weights_and_conserves_the_sum(pair: Told) -> None:
    assert pair[0]["one_cycle"]["summary"]["conservation_error"] < 1e-5


def test_the_optimizer_is_left_alone(pair: Told) -> None:
    for one in pair:
        steps = one["asynchronous"]["moments"]
        assert set(steps) == {len(one["asynchronous"]["rates"])}


def test_who_skips_a_step_takes_the_others(pair: Told) -> None:
    first, second = (one["scaled"] for one in pair)
    assert first["course"] == second["course"]
    assert first["course"][3] != first["course"][2]
    assert (first["scale"], second["scale"]) == (2.0**10, 2.0**9)


@pytest.mark.parametrize("loop", ["one step", "three steps"])
def test_scaling_clipping_and_accumulating_are_left_to_the_loop(pair: Told, loop: str) -> None:
    for one in pair:
        told_by = one["everything_untouched"]
        assert told_by[loop] == pytest.approx(told_by[f"{loop}, expected"], abs=1e-5)


def test_everything_begins_as_on_rank_0(pair: Told) -> None:
    for one in pair:
        for setting in one["buffers"].values():
            assert setting["start"] == [0.0] * 3
            assert setting["frozen"] == [0.0] * 3


def test_buffers_become_the_mean(pair: Told) -> None:
    first, second = (one["buffers"]["mean"] for one in pair)
    mean = [(a + b) / 2 for a, b in zip(first["before"], second["before"], strict=True)]
    assert first["before"] != second["before"]
    assert first["after"] == second["after"] == pytest.approx(mean)
    assert first["batches"] == second["batches"] == 3


def test_buffers_become_those_of_rank_0_if_asked(pair: Told) -> None:
    first, second = (one["buffers"]["broadcast"] for one in pair)
    assert first["after"] == second["after"] == first["before"]


def test_buffers_stay_as_they_are_if_asked(pair: Told) -> None:
    for rank, one in enumerate(pair):
        local = one["buffers"]["local"]
        assert local["after"] == local["before"]
        assert local["batches"] == 3 + rank


def test_local_sgd_averages_every_so_many_steps(pair: Told) -> None:
    pairs = zip(*(one["periodic"]["course"] for one in pair), strict=True)
    alike = [first == second for first, second in pairs]
    assert alike == [False, False, True] * 4


def test_a_script_may_use_torch_distributed_for_itself(pair: Told) -> None:
    assert [one[LAST]["ranks"] for one in pair] == [1.0, 1.0]


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="descriptors are counted in /proc")
def test_joining_again_and_again_leaves_nothing_open_whoever_serves_the_store() -> None:
    for one in told("in_a_row", processes=2, first_serves=True):
        assert "UsageError: the model of process 1 is not" in one["in_a_row"]["said"]
        for counts in (one["in_a_row"]["with garbage"], one["in_a_row"]["without"]):
            assert counts[1:] == counts[1:2] * 3


def test_followers_take_every_step_of_their_super_learner(four: Told) -> None:
    in_pairs([one["hierarchical"] for one in four])


def test_by_default_the_processes_of_a_node_are_a_super_learner() -> None:
    in_pairs([one["by_nodes"] for one in told("by_nodes", nodes=(2, 2))])


def test_nodes_of_several_sizes_are_refused_by_every_process() -> None:
    for one in told("by_uneven_nodes", nodes=(2, 1)):
        assert one["by_uneven_nodes"].startswith(
            "ScenarioError: dualrt.join: algorithm.learners_per_group"
        )
        assert "Start equally many in each node" in one["by_uneven_nodes"]


def in_pairs(loops: Told) -> None:
    steps = [one["steps"] for one in loops]
    assert (steps[0], steps[2]) == (steps[1], steps[3])
    assert loops[0]["summary"]["updates"] == steps[0] + steps[2]
    assert len({tuple(one["model"]) for one in loops}) == 1


def test_an_error_in_one_loop_ends_all(pair: Told) -> None:
    spared, guilty = (one["an_error"] for one in pair)
    assert guilty == "ZeroDivisionError: division by zero"
    assert spared.startswith("FailedElsewhereError: learner 1 failed, and the run ended: ZeroDiv")


def test_models_that_differ_are_refused(pair: Told) -> None:
    spared, guilty = (one["another_model"] for one in pair)
    assert guilty.startswith("UsageError: the model of process 1 is not the one of process 0")
    assert spared.startswith("FailedElsewhereError: learner 1 failed")


def test_all_use_torch_distributed_or_none(pair: Told) -> None:
    for one in pair:
        assert one["used_by_one"] == (
            "UsageError: torch.distributed's groups are not there in process 0 and there in "
            "process 1; call torch.distributed.init_process_group in all processes, or in none"
        )


def test_a_signal_to_one_process_ends_all() -> None:
    with started(LOOPS, "a_signal", processes=2) as running:
        first, second = running
        assert second.stdout is not None
        assert second.stdout.readline() == "going\n"
        second.send_signal(signal.SIGINT)
        ends = [ended(first), ended(second)]
    assert all(code != 0 for code, _, _ in ends)
    assert "learner 1 failed, and the run ended: KeyboardInterrupt" in ends[0][2]
