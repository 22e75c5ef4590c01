from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from contextlib import closing

import pytest

from dualrt.core.errors import RunError, UsageError
from dualrt.workloads.asr.pool import map_in_order


def squarer() -> Callable[[int], tuple[int, int]]:
    return lambda item: (item * item, os.getpid())


def _refused(item: int) -> int:
    raise UsageError(f"{item} is refused")


def refuser() -> Callable[[int], int]:
    return _refused


def _died(item: int) -> int:
    os._exit(item)


def dier() -> Callable[[int], int]:
    return _died


@pytest.mark.parametrize("jobs", [1, 2])
def test_results_come_in_the_order_of_the_items(jobs: int) -> None:
    results = list(map_in_order(squarer, range(50), jobs=jobs))
    assert [square for square, _ in results] == [item * item for item in range(50)]


def test_one_job_needs_no_other_process() -> None:
    assert {process for _, process in map_in_order(squarer, range(5), jobs=1)} == {os.getpid()}


def test_an_error_of_a_worker_is_the_callers() -> None:
    with pytest.raises(UsageError, match="0 is refused"):
        list(map_in_order(refuser, range(50), jobs=2))
    assert multiprocessing.active_children() == []


def test_a_dead_worker_is_an_error() -> None:
    with pytest.raises(RunError, match="one of 2 worker processes died"):
        list(map_in_order(dier, range(50), jobs=2))
    assert multiprocessing.active_children() == []


def test_leaving_early_leaves_no_process() -> None:
    with closing(map_in_order(squarer, range(1000), jobs=2)) as results:
        assert next(results)[0] == 0
        assert multiprocessing.active_children() != []
    assert multiprocessing.active_children() == []
