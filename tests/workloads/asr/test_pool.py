from __future__ import annotations

import multiprocessing
import os
from contextlib import closing
from functools import partial

import pytest

from dualrt.core.errors import RunError
from dualrt.workloads.asr.pool import map_in_order

# Workers must be importable by name in a process that has not seen this file; `power()(3)` is 2**3.
power = partial(partial, pow, 2)


def workers() -> list[multiprocessing.process.BaseProcess]:
    """Those of the pool: joblib keeps its own for a while, if a test before this one used them."""
    return [
        child for child in multiprocessing.active_children() if "Loky" not in type(child).__name__
    ]


@pytest.mark.parametrize("jobs", [1, 2])
def test_results_come_in_the_order_of_the_items(jobs: int) -> None:
    results = list(map_in_order(power, range(50), jobs=jobs))
    assert results == [2**item for item in range(50)]


def test_one_job_needs_no_other_process() -> None:
    processes = map_in_order(lambda: lambda item: os.getpid(), range(3), jobs=1)
    assert set(processes) == {os.getpid()}


def test_two_jobs_run_elsewhere() -> None:
    with closing(map_in_order(power, range(1000), jobs=2)) as results:
        assert next(results) == 1
        assert len(workers()) == 2


def test_leaving_early_leaves_no_process() -> None:
    with closing(map_in_order(power, range(1000), jobs=2)) as results:
        next(results)
    assert workers() == []


def test_an_error_of_a_worker_is_the_callers() -> None:
    with pytest.raises(ValueError, match="three"):
        list(map_in_order(partial(partial, int), ["1", "2", "three"] * 20, jobs=2))
    assert workers() == []


def test_a_worker_that_dies_is_an_error() -> None:
    with pytest.raises(RunError, match="one of 2 worker processes died"):
        list(map_in_order(partial(partial, os._exit), range(50), jobs=2))
    assert workers() == []
