"""What one process measures, and what it refuses to."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from dualrt.core.errors import UsageError
from dualrt.profile.bench import LEAST_REPEATS, Bench
from dualrt.scenario import Scenario, load


def scenario(*options: str) -> Callable[[int], Scenario]:
    return lambda batch: load("quadratic-sd-psgd", [*options, f"workload.batch={batch}"])


def bench(rank: int = 0, device: str = "cpu", *options: str) -> Bench:
    return Bench(scenario(*options), rank, 2, device)


@pytest.fixture
def loaded() -> Bench:
    made = bench()
    threads = torch.get_num_threads()
    made.load(4)
    torch.set_num_threads(threads)
    return made


@pytest.mark.parametrize("what", ["gradient", "gradient_work", "update", "launch", "blend", "copy"])
def test_each_thing_is_done_a_few_times_at_least(loaded: Bench, what: str) -> None:
    times_s = getattr(loaded, what)(for_s=0.0)
    assert len(times_s) == LEAST_REPEATS
    assert min(times_s) > 0


@pytest.mark.parametrize("way", ["up", "down"])
def test_a_copy_between_host_and_device_has_a_size(loaded: Bench, way: str) -> None:
    for nbytes in (0, 1000):
        assert min(getattr(loaded, way)(for_s=0.0, nbytes=nbytes)) > 0


@pytest.mark.parametrize(("nbytes", "busy"), [(0, False), (1_000_000, False), (1_000_000, True)])
def test_two_exchange_until_the_asking_one_has_had_enough(nbytes: int, busy: bool) -> None:
    ask, answer = bench(0), bench(1)
    ask.load(4)
    answer.load(4)
    addresses = {str(n): one.listen(1_000_000) for n, one in enumerate((ask, answer))}
    try:
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda one: one.connect(addresses), (ask, answer)))
            answering = pool.submit(answer.answer, 0, nbytes, busy)
            asked = ask.exchange(1, nbytes, 0.0, busy)
            answered = answering.result(timeout=30)
    finally:
        ask.hang_up()
        answer.hang_up()
    assert len(asked["exchanges"]) == LEAST_REPEATS
    assert len(asked["gradients"]) == (LEAST_REPEATS if busy else 0)
    assert bool(answered["gradients"]) == busy


def test_two_train_under_the_real_driver_and_say_what_it_took() -> None:
    one, other = bench(0), bench(1)
    for each in (one, other):
        each.load(4)
    addresses = {str(n): each.listen(1_000) for n, each in enumerate((one, other))}
    try:
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda each: each.connect(addresses), (one, other)))
            found = list(pool.map(lambda each: each.train(2, 20), (one, other)))
    finally:
        one.hang_up()
        other.hang_up()
    # All draw from one pool; each may be at a step when it hears of the end.
    assert 20 <= sum(each["steps"] for each in found) <= 23
    assert min(each["work_s"] for each in found) > 0


def test_a_workload_without_numbers_is_refused() -> None:
    phantom = Bench(lambda _: load("swb2000-ssgd-16"), 0, 1, "cpu")
    with pytest.raises(UsageError, match="'acoustic-phantom' has no numbers"):
        phantom.load(16)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused() -> None:
    with pytest.raises(UsageError, match="and sees 0"):
        bench(device="cuda")


def test_the_way_to_a_device_is_that_of_the_gossip() -> None:
    here = bench()
    here.load(4)
    for nbytes in (0, 3_000_000):
        for times_s in (here.up(for_s=0.0, nbytes=nbytes), here.down(for_s=0.0, nbytes=nbytes)):
            assert len(times_s) == LEAST_REPEATS


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_a_gpu_has_a_way_to_it() -> None:
    gpu = bench(device="cuda")
    assert gpu.about()["device_name"]
    gpu.load(4)
    assert min(gpu.gradient(for_s=0.0)) > 0
    assert min(*gpu.up(for_s=0.0, nbytes=1000), *gpu.down(for_s=0.0, nbytes=1000)) > 0
