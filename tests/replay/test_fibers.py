"""One runs at a time, in the same order each time."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from dualrt.replay.fibers import Fiber, Fibers
from tests.support import commands


def test_one_runs_until_it_pauses_and_then_the_next() -> None:
    fibers, told, paused = Fibers(), list[str](), list[Fiber]()

    def first() -> None:
        told.append("first begins")
        paused.append(fibers.running)
        fibers.pause()
        told.append("first goes on")

    def second() -> None:
        told.append("second begins")
        fibers.wake(paused[0])
        told.append("second ends")

    fibers.start(first)
    fibers.start(second)
    fibers.run()
    assert told == ["first begins", "second begins", "second ends", "first goes on"]


def test_who_is_woken_and_has_returned_is_no_more() -> None:
    fibers, told = Fibers(), list[str]()

    def wakes_itself() -> None:
        fibers.wake(fibers.running)

    fibers.start(wakes_itself)
    fibers.start(lambda: told.append("next"))
    fibers.run()
    assert told == ["next"]


@pytest.mark.parametrize("how", ["nobody can go on", "the end was asked for"])
def test_in_the_end_all_leave_where_they_have_paused(how: str) -> None:
    fibers, left, before = Fibers(), list[str](), set(threading.enumerate())

    def waits(name: str, then: Callable[[], None]) -> Callable[[], None]:
        def run() -> None:
            try:
                then()
                fibers.pause()
                left.append(f"{name} went on")
            finally:
                left.append(name)

        return run

    fibers.start(waits("one", lambda: None))
    fibers.start(waits("other", fibers.end if "end" in how else lambda: None))
    dropped = list[str]()
    if "end" in how:
        fibers.start(lambda: left.append("late"), lambda: dropped.append("late"))
    fibers.run()
    assert sorted(left) == ["one", "other"]
    assert dropped == (["late"] if "end" in how else [])
    for thread in set(threading.enumerate()) - before:
        thread.join(commands.PATIENCE_S)
        assert not thread.is_alive()


def test_the_first_error_ends_all_and_is_raised() -> None:
    fibers, left = Fibers(), list[str]()

    def waits() -> None:
        try:
            fibers.pause()
        finally:
            left.append("waits")

    def fails() -> None:
        raise KeyError("why")

    fibers.start(waits)
    fibers.start(fails)
    fibers.start(lambda: left.append("never"))
    with pytest.raises(KeyError, match="why"):
        fibers.run()
    assert left == ["waits"]
