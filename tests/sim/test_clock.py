"""Calls at exact instants, in SimPy's queue."""

from __future__ import annotations

from collections.abc import Generator

import pytest
import simpy
from simpy.core import EmptySchedule

from dualrt.sim.clock import Clock


def test_a_call_comes_at_its_instant_to_the_bit() -> None:
    clock, then_s = Clock(), 7.3
    seen: list[float] = []
    clock.timeout(1.1)
    clock.step()
    assert clock.now + (then_s - clock.now) != then_s  # what a delay would have given
    clock.at(then_s, lambda _: seen.append(clock.now), None)
    clock.step()
    assert seen == [then_s]


def test_calls_and_timeouts_of_one_instant_come_in_the_order_of_asking() -> None:
    clock = Clock()
    seen: list[str] = []
    clock.at(1.0, seen.append, "first")
    clock.timeout(1.0).callbacks.append(lambda _: seen.append("second"))
    clock.at(1.0, seen.append, "third")
    clock.run()
    assert seen == ["first", "second", "third"]


def test_what_is_last_in_an_instant_comes_after_what_that_instant_still_brings() -> None:
    clock = Clock()
    seen: list[str] = []
    clock.at_last(seen.append, "last")
    clock.at(0.0, lambda _: clock.at(0.0, seen.append, "next"), None)
    clock.at(0.5, seen.append, "later")
    clock.run()
    assert seen == ["next", "last", "later"]


def test_so_many_steps_are_taken_or_until_it_is_halted() -> None:
    clock = Clock()
    seen: list[int] = []

    def note(number: int) -> None:
        seen.append(number)
        if number == 3:
            clock.halt()

    for number in range(6):
        clock.at(float(number), note, number)
    clock.go(2)
    assert seen == [0, 1]
    clock.go(100)
    assert seen == [0, 1, 2, 3]
    assert clock.now == 3.0
    with pytest.raises(EmptySchedule):
        clock.go(100)


def test_simpy_s_processes_run_on_it() -> None:
    clock = Clock()
    woken_s: list[float] = []

    def sleeper() -> Generator[simpy.Event, None, str]:
        yield clock.timeout(1.5)
        woken_s.append(clock.now)
        return "awake"

    def waiter() -> Generator[simpy.Event, str, None]:
        assert (yield clock.process(sleeper())) == "awake"
        yield clock.timeout(1.0)
        raise ValueError("spoilt")

    clock.process(waiter())
    clock.run(until=2.0)
    assert (woken_s, clock.now) == ([1.5], 2.0)
    with pytest.raises(ValueError, match="spoilt"):
        clock.run()
    assert clock.now == 2.5
