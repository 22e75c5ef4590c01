"""From a corpus to a file that learners train on.

Owns the order of the steps and the account of what was kept and left out. Each step is another
module's business.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Final

import numpy as np

from dualrt.core.errors import UsageError
from dualrt.workloads.asr import fotaq
from dualrt.workloads.asr.align import Aligner, Miss, inventory
from dualrt.workloads.asr.audio import SAMPLE_RATE_HZ, samples_of
from dualrt.workloads.asr.extra import needed
from dualrt.workloads.asr.features import features, segments
from dualrt.workloads.asr.pool import map_in_order
from dualrt.workloads.asr.store import Block, Description, SpeechWriter, SplitName
from dualrt.workloads.asr.utterance import Corpus, Utterance

Progress = Callable[[str, int, int], None]
"""Told the stage ("read", "align"), how many items of it are done, and how many there are."""

_PACKAGES: Final = ("h5py", "kaldi_native_fbank", "pocketsphinx", "soundfile")


@dataclass(frozen=True, slots=True)
class PrepareReport:
    """What became of a corpus.

    Recordings without text (`unmatched`) and repetitions (`repeated`) are no utterances. Of
    `utterances`, `skipped_oov` have a word outside the pronouncing dictionary and `failed` found no
    alignment; the others last `hours` and give the segments of 21 frames.
    """

    unmatched: int
    repeated: int
    utterances: int
    skipped_oov: int
    failed: int
    hours: float
    segments_train: int
    segments_heldout: int


def prepare(
    out: Path, source: Path | None, *, jobs: int, limit: int | None, progress: Progress
) -> PrepareReport:
    """Write the corpus of "Flight of the Amazon Queen", aligned, to the HDF5 file `out`.

    `source` is where the data file is; None fetches it. `limit` takes that many utterances, spread
    evenly over the corpus. The same corpus and limit give the same file, whatever `jobs` is.

    Raises:
        UsageError: the source or the target is at fault.
        MissingExtraError: a package of the `asr` extra is not installed.
        RunError: a worker process died.
    """
    _check(out, jobs=jobs, limit=limit)
    progress("read", 0, 1)
    corpus = fotaq.read_corpus(source)
    progress("read", 1, 1)
    chosen = replace(corpus, utterances=_spread(corpus.utterances, limit))
    return prepare_corpus(out, chosen, jobs=jobs, progress=progress)


def prepare_corpus(out: Path, corpus: Corpus, *, jobs: int, progress: Progress) -> PrepareReport:
    """Align the utterances of `corpus` on `jobs` processes and write them to the HDF5 file `out`.

    Whatever stops it, no process and no partial file is left.

    Raises: as `prepare` does.
    """
    _check(out, jobs=jobs, limit=None)
    utterances = corpus.utterances
    missed: Counter[Miss] = Counter()
    segment_counts: Counter[SplitName] = Counter()
    used: list[Utterance] = []
    seconds = 0.0
    with (
        SpeechWriter(out) as writer,
        closing(map_in_order(labeller, utterances, jobs=jobs)) as results,
    ):
        for done, (utterance, result) in enumerate(zip(utterances, results, strict=True), start=1):
            progress("align", done, len(utterances))
            if isinstance(result, Miss):
                missed[result] += 1
                continue
            writer.append(_split(utterance), result.block)
            segment_counts[_split(utterance)] += len(result.block.phones)
            used.append(utterance)
            seconds += result.seconds
        report = PrepareReport(
            unmatched=corpus.unmatched,
            repeated=corpus.repeated,
            utterances=len(utterances),
            skipped_oov=missed[Miss.OUT_OF_VOCABULARY],
            failed=missed[Miss.NO_PATH],
            hours=round(seconds / 3600, 4),
            segments_train=segment_counts["train"],
            segments_heldout=segment_counts["heldout"],
        )
        writer.finish(_described(corpus, used, report))
    return report


@dataclass(frozen=True, slots=True)
class Labelled:
    """What a worker makes of one utterance."""

    block: Block
    seconds: float


def labeller() -> Callable[[Utterance], Labelled | Miss]:
    """A function that decodes and aligns an utterance and computes its features."""
    aligner = Aligner()

    def label(utterance: Utterance) -> Labelled | Miss:
        samples = samples_of(utterance.audio, utterance.clip)
        alignment = aligner.align(utterance.text, samples)
        if isinstance(alignment, Miss):
            return alignment
        # The aligner pads the end of the clip and so has up to two frames more than features do.
        frames = features(samples)[: len(alignment.phones)]
        block = Block(
            segments(frames.astype(np.float16)),
            segments(alignment.phones[: len(frames)]),
            segments(alignment.states[: len(frames)]),
        )
        return Labelled(block, len(samples) / SAMPLE_RATE_HZ)

    return label


def _check(out: Path, *, jobs: int, limit: int | None) -> None:
    """Find what is wrong before minutes are spent."""
    if not out.parent.is_dir():
        raise UsageError(f"{out}: the folder {out.parent} does not exist. Create it first.")
    if jobs < 1:
        raise UsageError(f"jobs = {jobs}: at least one process is needed. Give 1 or more.")
    if limit is not None and limit < 1:
        raise UsageError(f"limit = {limit}: at least one utterance is needed. Give 1 or more.")
    for package in _PACKAGES:
        needed(package, "preparing speech")


def _spread(utterances: tuple[Utterance, ...], limit: int | None) -> tuple[Utterance, ...]:
    if limit is None or limit >= len(utterances):
        return utterances
    return tuple(utterances[index * len(utterances) // limit] for index in range(limit))


def _split(utterance: Utterance) -> SplitName:
    return "heldout" if utterance.heldout else "train"


def _described(corpus: Corpus, used: Sequence[Utterance], report: PrepareReport) -> Description:
    train = [utterance for utterance in used if not utterance.heldout]
    heldout = [utterance for utterance in used if utterance.heldout]
    labels = inventory()
    return Description(
        corpus=corpus.name,
        corpus_sha256=corpus.sha256,
        synthetic=corpus.synthetic,
        phone_names=labels.phones,
        states=labels.states,
        train_files=sorted({utterance.dialogue for utterance in train}),
        heldout_files=sorted({utterance.dialogue for utterance in heldout}),
        shared_voices=sorted({u.voice for u in train} & {u.voice for u in heldout}),
        versions={package: version(package) for package in _PACKAGES},
        counts=asdict(report),
    )
