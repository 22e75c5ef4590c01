"""Calls at exact instants, in SimPy's queue."""

from __future__ import annotations

from dualrt.sim.clock import Call, Clock


def test_a_call_comes_at_its_instant_to_the_bit() -> None:
    clock, then_s = Clock(), 7.3
    seen: list[float] = []
    clock.timeout(1.1)
    clock.step()
    assert clock.now + (then_s - clock.now) != then_s  # what a delay would have given
    clock.at(then_s, lambda _: seen.append(clock.now))
    clock.step()
    assert seen == [then_s]


def test_calls_and_timeouts_of_one_instant_come_in_the_order_of_asking() -> None:
    clock = Clock()
    seen: list[str] = []

    def note(call: Call) -> None:
        seen.append(call.what)

    clock.at(1.0, note, "first")
    clock.timeout(1.0).callbacks.append(lambda _: seen.append("second"))
    clock.at(1.0, note, "third")
    clock.run()
    assert seen == ["first", "second", "third"]
