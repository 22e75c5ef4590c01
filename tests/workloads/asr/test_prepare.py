from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from dualrt.core.errors import UsageError
from dualrt.workloads.asr.prepare import prepare, prepare_corpus
from dualrt.workloads.asr.store import SpeechFile
from dualrt.workloads.asr.utterance import Corpus

for package in ("h5py", "kaldi_native_fbank", "pocketsphinx", "soundfile"):
    pytest.importorskip(package)


def quietly(stage: str, done: int, total: int) -> None:
    pass


def test_synthetic_digits_become_segments_of_features_and_labels(
    digits: Corpus, tmp_path: Path
) -> None:
    told: list[tuple[str, int, int]] = []
    out = tmp_path / "digits.h5"
    report = prepare_corpus(out, digits, jobs=1, progress=lambda *news: told.append(news))
    data = SpeechFile(out).load()
    assert (report.skipped_oov, report.failed) == (0, 0)
    assert (len(data.train), len(data.heldout)) == (report.segments_train, report.segments_heldout)
    assert report.segments_train * report.segments_heldout > 0
    assert data.train.features.shape[1:] == (21, 120)
    assert np.isfinite(data.train.features).all()
    assert data.train.phones.max() < data.outputs("phones")
    assert data.train.states.max() < data.outputs("states")
    assert told == [("align", done, 12) for done in range(1, 13)]


def test_the_file_says_where_it_comes_from(digits: Corpus, tmp_path: Path) -> None:
    out = tmp_path / "digits.h5"
    report = prepare_corpus(out, digits, jobs=1, progress=quietly)
    described = SpeechFile(out).description
    assert described.synthetic
    assert described.corpus.startswith("synthetic")
    assert described.corpus_sha256 == digits.sha256
    assert described.counts == asdict(report)
    assert not set(described.train_files) & set(described.heldout_files)
    assert described.versions["pocketsphinx"]


def test_the_number_of_jobs_does_not_change_a_byte(digits: Corpus, tmp_path: Path) -> None:
    for jobs in (1, 2):
        prepare_corpus(tmp_path / f"{jobs}.h5", digits, jobs=jobs, progress=quietly)
    assert (tmp_path / "1.h5").read_bytes() == (tmp_path / "2.h5").read_bytes()


def test_what_cannot_be_aligned_is_counted(digits: Corpus, tmp_path: Path) -> None:
    first, second, third = digits.utterances[:3]
    changed = (replace(first, text="xyzzyq"), replace(second, text="seven " * 60), third)
    corpus = replace(digits, utterances=changed, unmatched=4, repeated=5)
    report = prepare_corpus(tmp_path / "it.h5", corpus, jobs=1, progress=quietly)
    assert (report.utterances, report.skipped_oov, report.failed) == (3, 1, 1)
    assert (report.unmatched, report.repeated) == (4, 5)
    assert report.hours > 0


@pytest.mark.parametrize(
    ("jobs", "limit", "message"), [(0, None, "jobs = 0"), (1, 0, "limit = 0"), (1, -3, "limit")]
)
def test_impossible_numbers_are_refused(
    tmp_path: Path, jobs: int, limit: int | None, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        prepare(tmp_path / "it.h5", None, jobs=jobs, limit=limit, progress=quietly)


def test_a_folder_that_does_not_exist_is_found_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nowhere does not exist"):
        prepare(tmp_path / "nowhere" / "it.h5", None, jobs=1, limit=None, progress=quietly)


INTERRUPTED = """
import sys
from pathlib import Path
from dualrt.workloads.asr.prepare import prepare_corpus
from dualrt.workloads.asr.synthetic import spoken_digits

if __name__ == "__main__":
    prepare_corpus(
        Path(sys.argv[1]),
        spoken_digits(80, seed=1),
        jobs=2,
        progress=lambda stage, done, total: print(stage, flush=True),
    )
"""


@pytest.mark.usefixtures("digits")  # for its reasons to skip
def test_an_interrupt_leaves_no_file_and_no_process(tmp_path: Path) -> None:
    for attempt in range(8):
        folder = tmp_path / f"out{attempt}"
        folder.mkdir()
        group, complaint = interrupted(tmp_path, folder)
        assert ends_within(group, seconds=10)
        # Python has nowhere to raise an interrupt that comes during a callback of its own.
        if not complaint.startswith("Exception ignored in"):
            break
    assert complaint.rstrip().endswith("KeyboardInterrupt")
    assert complaint.count("Traceback") == 1
    assert list(folder.iterdir()) == []


def interrupted(home: Path, folder: Path) -> tuple[int, str]:
    """Prepare into a folder, and interrupt it as Ctrl-C does; its process group and last words."""
    script = home / "interrupted.py"
    script.write_text(INTERRUPTED)
    with subprocess.Popen(
        [sys.executable, script, folder / "it.h5"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "align\n"
        assert list(folder.iterdir()) != []
        os.killpg(process.pid, signal.SIGINT)
        _, complaint = process.communicate(timeout=60)
    return process.pid, complaint


def ends_within(group: int, seconds: float) -> bool:
    """Whether the last process of a group is gone by then.

    The multiprocessing module's own resource tracker outlives the process that it serves by the
    moment it takes to notice.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    return False


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_real_corpus_is_fetched_and_prepared(tmp_path: Path) -> None:
    report = prepare(tmp_path / "it.h5", None, jobs=2, limit=120, progress=quietly)
    assert (report.utterances, report.unmatched, report.repeated) == (120, 172, 32)
    assert report.skipped_oov + report.failed < 20
    data = SpeechFile(tmp_path / "it.h5").load()
    assert len(data.train) > len(data.heldout) > 0
    assert data.description.shared_voices == ["JOE", "untagged"]
