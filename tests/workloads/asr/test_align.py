from __future__ import annotations

from dataclasses import astuple
from itertools import groupby

import numpy as np
import pytest

from dualrt.workloads.asr.align import Aligner, Alignment, Miss, inventory
from dualrt.workloads.asr.audio import FRAME_SHIFT_SAMPLES, Samples, samples_of
from dualrt.workloads.asr.utterance import Corpus, Utterance

PRONOUNCED = {
    "zero": ("Z IH R OW", "Z IY R OW"),
    "one": ("W AH N", "HH W AH N"),
    "two": ("T UW",),
    "three": ("TH R IY",),
    "four": ("F AO R",),
    "five": ("F AY V",),
    "six": ("S IH K S",),
    "seven": ("S EH V AH N",),
    "eight": ("EY T",),
    "nine": ("N AY N",),
}


def heard(utterance: Utterance) -> Samples:
    return samples_of(utterance.audio, utterance.clip)


def aligned(aligner: Aligner, utterance: Utterance) -> Alignment:
    alignment = aligner.align(utterance.text, heard(utterance))
    assert isinstance(alignment, Alignment)
    return alignment


def test_the_model_tells_40_phones_and_5126_states_apart() -> None:
    pytest.importorskip("pocketsphinx")
    labels = inventory()
    assert len(labels.phones) == 40
    assert {"AA", "SIL", "ZH"} <= set(labels.phones)
    assert labels.states == 5126


def test_synthetic_digits_are_aligned_to_all_their_phones_in_order(
    aligner: Aligner, digits: Corpus
) -> None:
    names = inventory().phones
    for utterance in digits.utterances:
        spoken = [names[index] for index in aligned(aligner, utterance).phones]
        runs = [name for name, _ in groupby(name for name in spoken if name != "SIL")]
        assert " ".join(runs) in sequences(utterance.text)


def test_every_10_ms_have_a_phone_and_a_state(aligner: Aligner, digits: Corpus) -> None:
    utterance = digits.utterances[0]
    alignment = aligned(aligner, utterance)
    frames = len(heard(utterance)) / FRAME_SHIFT_SAMPLES
    assert len(alignment.phones) == len(alignment.states)
    assert abs(len(alignment.phones) - frames) <= 2
    assert alignment.states.min() >= 0
    assert alignment.states.max() < inventory().states


def test_silence_around_speech_is_labelled_silence(aligner: Aligner, digits: Corpus) -> None:
    utterance = digits.utterances[0]
    half_second = np.zeros(8_000, np.float32)
    padded = np.concatenate([half_second, heard(utterance), half_second])
    alignment = aligner.align(utterance.text, padded)
    assert isinstance(alignment, Alignment)
    silence = inventory().phones.index("SIL")
    assert (alignment.phones[:40] == silence).all()
    assert (alignment.phones[-40:] == silence).all()


def test_an_alignment_does_not_depend_on_those_before(aligner: Aligner, digits: Corpus) -> None:
    forward = [astuple(aligned(aligner, utterance)) for utterance in digits.utterances]
    backward = [astuple(aligned(aligner, utterance)) for utterance in digits.utterances[::-1]]
    for mine, theirs in zip(forward, backward[::-1], strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("text", ["one xyzzyq two", "agent 007", "...", "'"])
def test_words_outside_the_dictionary_are_a_miss(aligner: Aligner, text: str) -> None:
    assert aligner.align(text, np.zeros(16_000, np.float32)) is Miss.OUT_OF_VOCABULARY


def test_too_little_sound_for_the_words_is_a_miss(aligner: Aligner) -> None:
    text = "seven eight nine seven eight nine"
    assert aligner.align(text, np.zeros(3_200, np.float32)) is Miss.NO_PATH


def test_a_miss_does_not_disturb_the_next(aligner: Aligner, digits: Corpus) -> None:
    before = aligned(aligner, digits.utterances[0])
    aligner.align("seven eight nine", np.zeros(1_600, np.float32))
    after = aligned(aligner, digits.utterances[0])
    np.testing.assert_array_equal(before.states, after.states)


def test_quotes_hyphens_and_case_do_not_hide_a_word(aligner: Aligner, digits: Corpus) -> None:
    utterance = digits.utterances[0]
    first, *rest = utterance.text.upper().split()
    decorated = f"\"'{first}'... " + "-".join(rest) + "!"
    alignment = aligner.align(decorated, heard(utterance))
    assert isinstance(alignment, Alignment)
    np.testing.assert_array_equal(alignment.states, aligned(aligner, utterance).states)


def sequences(text: str) -> set[str]:
    """Every way to pronounce `text`; a phone that ends a word and begins the next is one run."""
    ways: list[list[str]] = [[]]
    for word in text.split():
        ways = [way + spelled.split() for way in ways for spelled in PRONOUNCED[word]]
    return {" ".join(phone for phone, _ in groupby(way)) for way in ways}
