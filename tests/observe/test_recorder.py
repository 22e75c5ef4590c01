"""Records as files."""

from __future__ import annotations

import gzip
import json
import math
from pathlib import Path

import pytest
from hypothesis import given

from dualrt.core.errors import RunError, UsageError
from dualrt.core.records import Span, Update
from dualrt.observe.recorder import Applied, Record, Recorder, read_records
from tests.observe.examples import a_run, runs, show, span, update


def recorded(directory: Path, records: list[Record], *, compressed: bool = False) -> Path:
    with Recorder(directory, compressed=compressed, records_per_flush=4) as recorder:
        show(records, recorder)
    return recorder.path


@pytest.mark.parametrize("compressed", [False, True])
def test_what_was_written_is_read(tmp_path: Path, compressed: bool) -> None:
    records = a_run()
    path = recorded(tmp_path / "new" / "folder", records, compressed=compressed)
    read = list(read_records(path))
    assert read == records
    assert [type(one) for one in read] == [type(one) for one in records]


@given(runs)
def test_any_records_come_back_to_the_bit(
    tmp_path_factory: pytest.TempPathFactory, records: list[Record]
) -> None:
    path = recorded(tmp_path_factory.mktemp("run"), records)
    assert list(read_records(path)) == records


@pytest.mark.parametrize("compressed", [False, True])
def test_equal_records_make_equal_files(tmp_path: Path, compressed: bool) -> None:
    one, other = (
        recorded(tmp_path / name, a_run(), compressed=compressed).read_bytes()
        for name in ("one", "other")
    )
    assert one == other


def test_lines_are_json_that_says_what_it_is(tmp_path: Path) -> None:
    path = recorded(tmp_path, [span("blend", 0.0, 0.5), Applied(0.5, update(1.5))])
    header, first, second = map(json.loads, path.read_text().splitlines())
    assert header["header"]["span"] == list(Span._fields)
    assert header["header"]["update"] == list(Update._fields)
    assert first == {"span": [0, "train", "blend", 0.0, 0.5, 0, -1, 0]}
    assert second == {"update": [0.5, [0, 1, 0.5, 0.1, 1.5, 0, 0, 10]]}


@pytest.mark.parametrize("compressed", [False, True])
def test_what_was_flushed_survives_a_crash(tmp_path: Path, compressed: bool) -> None:
    recorder = Recorder(tmp_path, compressed=compressed, records_per_flush=4)
    records: list[Record] = [span(step=step) for step in range(6)]
    show(records, recorder)
    assert list(read_records(recorder.path)) == records[:4]
    recorder.close()
    assert list(read_records(recorder.path)) == records


def test_of_a_run_that_is_slow_a_crash_loses_little_too(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, seconds_per_flush=1.0)
    records: list[Record] = [Applied(time_s, update()) for time_s in (0.5, 1.25, 1.5)]
    show(records, recorder)
    assert list(read_records(recorder.path)) == records[:2]
    recorder.close()


def test_a_line_that_was_cut_short_is_left_out(tmp_path: Path) -> None:
    records = a_run(2, 2)
    path = recorded(tmp_path, records)
    whole = path.read_bytes()
    begins = whole.rstrip(b"\n").rindex(b"\n") + 1
    for end in range(begins, len(whole)):
        path.write_bytes(whole[:end])
        assert list(read_records(path)) == records[:-1]


@pytest.mark.parametrize("lost", [1, 8, 9, 60])
def test_a_compressed_file_that_was_cut_short_gives_its_whole_lines(
    tmp_path: Path, lost: int
) -> None:
    records = a_run(2, 4)
    path = recorded(tmp_path, records, compressed=True)
    path.write_bytes(path.read_bytes()[:-lost])
    read = list(read_records(path))
    assert len(read) > len(records) / 2
    assert read == records[: len(read)]


def test_a_crash_before_the_first_flush_leaves_no_records(tmp_path: Path) -> None:
    path = tmp_path / "records-0.jsonl"
    path.touch()
    assert list(read_records(path)) == []


@pytest.mark.parametrize("text", [b"garbage", b"[", b'{"heading": 1', b"\x00"])
def test_what_is_no_line_and_no_beginning_of_one_is_refused(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "records-0.jsonl"
    path.write_bytes(text)
    with pytest.raises(UsageError, match="does not begin with a header"):
        list(read_records(path))


def test_a_header_that_was_cut_short_leaves_no_records(tmp_path: Path) -> None:
    path = recorded(tmp_path, [])
    header = path.read_bytes()
    for end in range(len(header)):
        path.write_bytes(header[:end])
        assert list(read_records(path)) == []


def test_a_broken_line_in_the_middle_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = recorded(tmp_path, [span(), span(), span()])
    lines = path.read_bytes().splitlines(keepends=True)
    lines[2] = b'{"span": [0, "train"]}\n'
    path.write_bytes(b"".join(lines))
    with pytest.raises(UsageError, match=r"records-0\.jsonl, line 3, is not a record"):
        list(read_records(path))


def test_records_of_another_version_are_refused(tmp_path: Path) -> None:
    path = recorded(tmp_path, [])
    path.write_text(path.read_text().replace('"version":1', '"version":2'))
    with pytest.raises(UsageError, match="header of version 1"):
        list(read_records(path))


def test_a_file_without_a_header_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "records-0.jsonl"
    path.write_text('{"span": [0, "train", "blend", 0.0, 0.5, 0, -1, 0]}\n')
    with pytest.raises(UsageError, match="does not begin with a header"):
        list(read_records(path))


def test_a_directory_gives_the_files_of_all_ranks_in_order(tmp_path: Path) -> None:
    for rank in (10, 9, 2):
        with Recorder(tmp_path, rank=rank, compressed=rank == 9) as recorder:
            recorder.span(span(learner=rank))
    with Recorder(tmp_path, rank=2, incarnation=1) as recorder:
        recorder.span(span(learner=2, step=7))
    read = [(one.learner, one.step) for one in read_records(tmp_path) if isinstance(one, Span)]
    assert read == [(2, 0), (2, 7), (9, 0), (10, 0)]


def test_a_directory_without_records_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has no records"):
        list(read_records(tmp_path))


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        list(read_records(tmp_path / "records-0.jsonl"))


def test_a_file_that_only_says_it_is_compressed_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "records-0.jsonl.gz"
    path.write_text("plain\n")
    with pytest.raises(UsageError, match="cannot be read"):
        list(read_records(path))


def test_records_are_never_overwritten(tmp_path: Path) -> None:
    recorded(tmp_path, a_run())
    with pytest.raises(UsageError, match=r"cannot be made \(File exists"):
        Recorder(tmp_path)


def test_a_loss_that_is_not_finite_is_written_as_null(tmp_path: Path) -> None:
    path = recorded(tmp_path, [Applied(1.0, update(math.nan)), Applied(2.0, update(math.inf))])
    assert [one.update.loss for one in read_records(path) if isinstance(one, Applied)] == [
        None,
        None,
    ]


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("records_per_flush", [4, 10**6])
def test_a_full_disk_is_an_error_that_names_the_file_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compressed: bool, records_per_flush: int
) -> None:
    """While the run is under way, and when all is written at its end."""
    full = Path("/dev/full").open("wb")  # noqa: SIM115 - the recorder closes it
    monkeypatch.setattr(Path, "open", lambda *_, **__: full)

    def record() -> None:
        with recorder:
            show(a_run(), recorder)

    recorder = Recorder(tmp_path, compressed=compressed, records_per_flush=records_per_flush)
    told = r"records-0\.jsonl.* cannot be written: No space left on device\. Make room"
    with pytest.raises(RunError, match=told):
        record()
    assert full.closed
    show(a_run(), recorder)
    recorder.close()


def test_closing_twice_is_harmless(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, compressed=True)
    recorder.close()
    recorder.close()
    assert gzip.decompress(recorder.path.read_bytes()).count(b"\n") == 1
