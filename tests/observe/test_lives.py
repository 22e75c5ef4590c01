"""What is known of processes that died before the run's end."""

from __future__ import annotations

from pathlib import Path

from dualrt.core.records import Update
from dualrt.observe.lives import dead
from dualrt.observe.recorder import Recorder


def live(folder: Path, rank: int, incarnation: int, updates: int) -> Path:
    """Record one life of a learner."""
    with Recorder(folder, rank=rank, incarnation=incarnation) as recorder:
        for step in range(1, updates + 1):
            recorder.update(float(step), Update(rank, step, 0.0, 0.1, 1.0, 0, 0, 16))
    return recorder.path


def test_the_lives_before_the_last_are_counted_and_the_last_is_not(tmp_path: Path) -> None:
    for incarnation, updates in enumerate((5, 3, 70)):
        live(tmp_path, 0, incarnation, updates)
    live(tmp_path, 1, 0, 90)
    gone = dead(tmp_path, {0: 2, 1: 0}, learners=2)
    assert gone.lives == {0: 2, 1: 0}
    assert {rank: tally.updates for rank, tally in gone.tallies.items()} == {0: 8, 1: 0}
    assert gone.tallies[0].samples == 8 * 16


def test_of_who_is_down_all_lives_are_counted(tmp_path: Path) -> None:
    live(tmp_path, 1, 0, 4)
    live(tmp_path, 1, 1, 2)
    gone = dead(tmp_path, {0: 0}, learners=2)
    assert gone.lives == {0: 0, 1: 2}
    assert gone.tallies[1].updates == 6


def test_what_death_cut_short_counts_as_far_as_it_is_whole(tmp_path: Path) -> None:
    file = live(tmp_path, 0, 0, 5)
    file.write_bytes(file.read_bytes()[:-3])
    live(tmp_path, 0, 1, 5).write_text("no record\n")
    gone = dead(tmp_path, {0: 2}, learners=1)
    assert gone.tallies[0].updates == 4


def test_who_recorded_nothing_is_not_known(tmp_path: Path) -> None:
    gone = dead(None, {0: 1}, learners=2)
    assert gone.lives == {0: 1, 1: 0}
    assert not any(tally.updates for tally in gone.tallies.values())
