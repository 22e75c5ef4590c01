"""Turns that say nothing are taken again, and do not count."""

from __future__ import annotations

from typing import Any, cast

import pytest

from benchmarks.train_peers import GROWTH, Cell, Crew, Reply, turn

CELL = Cell("mlp", 2, 1.0)


def reply(begin_s: float, steps: int) -> Reply:
    """A step every tenth of a second, from then on, of which half is processor time."""
    times_s = [begin_s + 0.1 * step for step in range(steps)]
    return {
        "steps": [(time_s, 1.0) for time_s in times_s],
        "processor": [(time_s, 0.5 * time_s) for time_s in (times_s[0], times_s[-1])],
    }


class Late:
    """A crew of two, of whom one begins 4 s after the other."""

    def __init__(self, late_s: float = 4.0) -> None:
        self.late_s, self.asked = late_s, list[int]()

    def take(self, cell: Cell, medium: str, steps: int, gradient_s: float) -> Any:
        """So many steps of either."""
        self.asked.append(steps)
        return [reply(0.0, steps), reply(self.late_s, steps)]


def test_a_turn_in_which_not_all_trained_at_once_is_taken_again_with_more_steps() -> None:
    crew = Late()
    got, steps = turn(cast(Crew, crew), CELL, "independent", 20, 0.1)
    assert not isinstance(got, str)
    assert crew.asked == [20, 20 * GROWTH]
    assert steps == 20 * GROWTH
    assert got.steps_per_s == pytest.approx(20)
    assert got.cpu_s_per_step == pytest.approx(0.05)


def test_a_turn_that_tells_of_a_rate_is_taken_once() -> None:
    crew = Late(late_s=0.5)
    _, steps = turn(cast(Crew, crew), CELL, "independent", 20, 0.1)
    assert crew.asked == [steps] == [20]


def test_learners_that_never_train_at_once_end_the_benchmark() -> None:
    with pytest.raises(SystemExit, match="adpsgd: in 5 turns there was no instant"):
        turn(cast(Crew, Late(late_s=1e9)), CELL, "adpsgd", 2, 0.1)
