"""Curves that TensorBoard reads back."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dualrt.core.errors import UsageError
from dualrt.observe.meter import Meter, Transport
from dualrt.observe.metrics import Watched
from dualrt.observe.recorder import Applied
from dualrt.observe.tensorboard import EventFiles
from tests.observe.examples import a_run, show, show_in_bulk, update

ONE = Watched("adpsgd", 3, 1, lambda time_s: 1000.0 + time_s, 0.0)


def never(why: str) -> None:
    raise AssertionError(why)


def read(folder: Path) -> EventAccumulator:
    found = EventAccumulator(str(folder))
    found.Reload()
    return found


def test_points_are_in_the_run_s_time_over_its_updates(tmp_path: Path) -> None:
    meter = Meter(3, range(3))
    files = EventFiles(tmp_path, meter, ONE, never)
    meter.attach(lambda: Transport(2, {"stale": 4, "corrupt": 1}))
    show(a_run(), meter, files)
    files.close()
    read_back = read(tmp_path / "adpsgd" / "rank-3")
    losses = read_back.Scalars("loss")
    steps = [point.step for point in losses]
    assert steps == sorted(steps)
    assert (steps[0], steps[-1]) == (1, 15)
    assert losses[-1].value == pytest.approx(4.0 / 5)
    assert losses[0].wall_time > 1000.9
    final = meter.read()
    assert losses[-1].wall_time == pytest.approx(1000.0 + final.time_s)
    ends = {
        "epoch": 1.0,
        "samples": 150.0,
        "sent_bytes": final.sent_bytes,
        "received_bytes": final.received_bytes,
        "goodput_ratio": final.goodput,
        "lost_peers": 2.0,
        "rejected_frames": 5.0,
    }
    assert {tag: read_back.Scalars(tag)[-1].value for tag in ends} == pytest.approx(ends)
    rates = [point.value for point in read_back.Scalars("samples_per_second")]
    assert len(rates) == len(steps) - 1
    assert all(rate > 0 for rate in rates)


def test_staleness_is_a_histogram_with_exact_counts(tmp_path: Path) -> None:
    meter = Meter(1, [0])
    files = EventFiles(tmp_path, meter, ONE, never)
    for time_s, staleness in enumerate([0, 2, 2, 7]):
        at = float(time_s), update(staleness=staleness)
        meter.update(*at)
        files.update(*at)
    files.close()
    found = read(tmp_path / "adpsgd" / "rank-3")
    last = found.Histograms("staleness")[-1].histogram_value
    assert (list(last.bucket_limit), list(last.bucket)) == ([0, 2, 7], [1, 2, 1])
    assert (last.num, last.sum, last.sum_squares) == (4, 11, 57)
    assert "loss" not in found.Tags()["scalars"]


def test_points_become_rarer_and_the_last_is_there(tmp_path: Path) -> None:
    meter = Meter(1, [0])
    files = EventFiles(tmp_path, meter, ONE._replace(least_s=1.0), never)
    for number in range(10_001):
        at = number / 2, update(float(number))
        meter.update(*at)
        files.update(*at)
    files.close()
    losses = read(tmp_path / "adpsgd" / "rank-3").Scalars("loss")
    times_s = [point.wall_time - 1000 for point in losses]
    # But for the last, which is there whenever it comes.
    for before_s, after_s in pairwise(times_s[:-1]):
        assert after_s - before_s >= max(1.0, before_s / 500)
    assert (times_s[0], times_s[-1]) == (0.0, 5000.0)
    assert 1000 < len(times_s) < 2000


def test_records_in_bulk_make_points_too(tmp_path: Path) -> None:
    meter, records = Meter(3, range(3)), a_run()
    files = EventFiles(tmp_path, meter, ONE, never)
    show_in_bulk(records, 35, meter, files)
    files.close()
    steps = [point.step for point in read(tmp_path / "adpsgd" / "rank-3").Scalars("epoch")]
    assert steps == [
        sum(isinstance(one, Applied) for one in records[:end]) for end in (35, 70, len(records))
    ]


def test_a_user_s_class_and_a_simulation_have_folders_that_say_so(tmp_path: Path) -> None:
    whole = ONE._replace(algorithm="mine:Own", rank=None)
    EventFiles(tmp_path, Meter(1, [0]), whole, never).close()
    (file,) = (tmp_path / "mine.Own" / "simulated").iterdir()
    assert "tfevents" in file.name


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "adpsgd").touch()
    with pytest.raises(UsageError, match=r"cannot be written to .*Name another folder"):
        EventFiles(tmp_path, Meter(1, [0]), ONE, never)


def test_a_full_disk_costs_the_curves_and_not_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    complaints: list[str] = []
    files = EventFiles(tmp_path, Meter(1, [0]), ONE, complaints.append)

    def full(event: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files._writer, "add_event", full)
    for time_s in range(3):
        files.update(float(time_s), update())
    files.close()
    (complaint,) = complaints
    assert "No space left on device" in complaint
