"""How often cycles are looked for."""

from __future__ import annotations

import gc

import pytest

from dualrt.sim.garbage import THRESHOLDS, collected_rarely


def test_cycles_are_looked_for_rarely_and_afterwards_as_before() -> None:
    before = gc.get_threshold()

    def fail() -> None:
        with collected_rarely():
            assert gc.get_threshold() == THRESHOLDS
            raise ValueError("spoilt")

    with pytest.raises(ValueError, match="spoilt"):
        fail()
    assert gc.get_threshold() == before


def test_what_was_set_higher_stays() -> None:
    before = gc.get_threshold()
    gc.set_threshold(10**6, 10, 10**3)
    try:
        with collected_rarely():
            assert gc.get_threshold() == (10**6, THRESHOLDS[1], 10**3)
    finally:
        gc.set_threshold(*before)
