"""Buffers on loan: nobody's memory changes under a reader, and memory is used again."""

from __future__ import annotations

import ctypes
import threading

import pytest

from dualrt.core.pool import SMALLEST_BYTES, Loan, Pool


def address(loan: Loan) -> int:
    return ctypes.addressof(loan)


def test_memory_that_nobody_reads_is_used_again() -> None:
    pool = Pool(1)
    first = pool.take(SMALLEST_BYTES)
    where = address(first)
    del first
    assert address(pool.take(SMALLEST_BYTES)) == where


def test_memory_that_is_still_read_is_not() -> None:
    pool = Pool(1)
    first = pool.take(SMALLEST_BYTES)
    first[0] = 7
    kept = memoryview(first).cast("B")[:1]
    del first
    second = pool.take(SMALLEST_BYTES)
    second[0] = 9
    assert kept[0] == 7


def test_buffers_of_another_size_are_not_mixed_up() -> None:
    pool = Pool(1)
    pool.take(SMALLEST_BYTES)
    assert len(pool.take(2 * SMALLEST_BYTES)) == 2 * SMALLEST_BYTES
    assert len(pool.take(SMALLEST_BYTES)) == SMALLEST_BYTES


@pytest.mark.parametrize("nbytes", [0, 1, SMALLEST_BYTES - 1, SMALLEST_BYTES + 3])
def test_a_buffer_has_the_size_that_was_asked_for(nbytes: int) -> None:
    assert memoryview(Pool(1).take(nbytes)).nbytes == nbytes


def test_no_more_waits_than_was_said() -> None:
    pool = Pool(2)
    loans = [pool.take(SMALLEST_BYTES) for _ in range(5)]
    where = {address(loan) for loan in loans}
    loans.clear()
    again = [pool.take(SMALLEST_BYTES) for _ in range(2)]
    assert {address(loan) for loan in again} <= where
    assert sum(len(free) for free in pool._free.values()) == 0


def test_threads_never_share_a_buffer() -> None:
    pool = Pool(4)
    torn = []

    def work(mark: int) -> None:
        for _ in range(200):
            loan = pool.take(SMALLEST_BYTES)
            loan[0] = loan[-1] = mark
            if loan[0] != mark or loan[-1] != mark:
                torn.append(mark)

    threads = [threading.Thread(target=work, args=(mark,)) for mark in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not torn
