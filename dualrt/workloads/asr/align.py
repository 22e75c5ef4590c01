"""Which phone and which tied state is spoken in each 10 ms frame of an utterance.

Owns the forced alignment: pocketsphinx's en-us model and its pronouncing dictionary (cmudict) find
the most likely path through the states of the given words. The labels that the network learns are
thus bootstrapped from that external model; those of arXiv 1907.05701 come from a forced alignment
too. Knows nothing of files or processes.

Labels: a phone is one of 40 (39 of English and silence). A state is one of the model's 5,126
senones: 5,000 of context-dependent states, tied by decision trees, behind 126 (three a phone) that
do not depend on context, of which alignments hold only those of silence.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dualrt.core.errors import UsageError
from dualrt.workloads.asr.audio import Samples, pcm16
from dualrt.workloads.asr.extra import needed

_PURPOSE: Final = "aligning speech with its text"
_WORD: Final = re.compile(r"[a-z0-9']+")
_ALTERNATIVE: Final = re.compile(r"\(\d+\)$")


class Miss(Enum):
    """Why an utterance has no alignment."""

    OUT_OF_VOCABULARY = "a word is not in the pronouncing dictionary"
    NO_PATH = "no path through the words fits the sound"


@dataclass(frozen=True, slots=True)
class Alignment:
    """Labels of each frame: indices into `Inventory.phones`, and numbers of states."""

    phones: NDArray[np.uint8]
    states: NDArray[np.int16]


@dataclass(frozen=True, slots=True)
class Inventory:
    """The labels of an acoustic model: names of phones, and how many states there are."""

    phones: tuple[str, ...]
    states: int


class Aligner:
    """One decoder with its model (30 MB, a quarter of a second to load); one for each process.

    Alignments do not depend on those made before.

    Raises:
        MissingExtraError: pocketsphinx is not installed.
    """

    def __init__(self) -> None:
        pocketsphinx = needed("pocketsphinx", _PURPOSE)
        self._decoder = pocketsphinx.Decoder(
            lm=None,
            loglevel="FATAL",
            # The search of the best path in the lattice may end before the last word, and does for
            # one utterance in seven of the corpus, whose end is then labelled silence.
            bestpath=False,
            # The default beams lose one utterance in ninety, and these cost no more time.
            beam=1e-80,
            pbeam=1e-80,
            wbeam=1e-50,
        )
        self._phones = {name: index for index, name in enumerate(inventory().phones)}

    def align(self, text: str, samples: Samples) -> Alignment | Miss:
        """Labels of the frames of `samples` (16 kHz), in which `text` is spoken.

        Two passes: the words, with silences between and the likeliest of several pronunciations;
        then the states of the phones of that path.
        """
        words = self._words(text)
        if words is None:
            return Miss.OUT_OF_VOCABULARY
        sound = pcm16(samples)
        try:
            self._decoder.set_align_text(" ".join(words))
            self._decode(sound)
            self._decoder.set_alignment()
            self._decode(sound)
            path = self._decoder.get_alignment()
        except RuntimeError:  # what pocketsphinx raises where no path survives its beam
            return Miss.NO_PATH
        if path is None or _spoken(path) != words:
            return Miss.NO_PATH
        return self._labels(path)

    def _words(self, text: str) -> list[str] | None:
        """The words as the dictionary spells them; None if it lacks one, or there are none.

        An apostrophe at the edge may belong to the word ('em) or quote it ('hello').
        """
        words = []
        for token in _WORD.findall(text.lower()):
            spelling = next(filter(self._is_known, (token, token.strip("'"))), None)
            if spelling is None and token.strip("'"):
                return None
            if spelling is not None:
                words.append(spelling)
        return words or None

    def _is_known(self, word: str) -> bool:
        return bool(word) and self._decoder.lookup_word(word) is not None

    def _decode(self, sound: bytes) -> None:
        # Without this, the noise estimate of the clip before moves one state in a few thousand.
        self._decoder.reinit_feat()
        self._decoder.start_utt()
        self._decoder.process_raw(sound, full_utt=True)
        self._decoder.end_utt()

    def _labels(self, path: Iterable[Any]) -> Alignment:
        phones: list[int] = []
        states: list[int] = []
        for word in path:
            for phone in word:
                phones += [self._phones[phone.name]] * phone.duration
                for state in phone:
                    states += [int(state.name)] * state.duration
        return Alignment(np.array(phones, np.uint8), np.array(states, np.int16))


def _spoken(path: Iterable[Any]) -> list[str]:
    """The words of a path, without silences and the numbers of alternative pronunciations."""
    names = (word.name for word in path)
    return [_ALTERNATIVE.sub("", name) for name in names if name[0] not in "<[("]


def inventory() -> Inventory:
    """The labels of the aligner's acoustic model, from its binary definition.

    `BMDF`, a version and the length of a description (u32 each, little-endian here), the
    description; then ten i32, of which the first is the number of phones and the fifth that of
    states; then the phones' names, each ended by a zero byte. Names in plus signs are noises.

    Raises:
        UsageError: the model is damaged.
        MissingExtraError: pocketsphinx is not installed.
    """
    definition = Path(needed("pocketsphinx", _PURPOSE).get_model_path("en-us/en-us/mdef"))
    data = definition.read_bytes()
    if data[:4] != b"BMDF":
        raise UsageError(
            f"{definition}: not a binary model definition. Reinstall pocketsphinx with its model."
        )
    counts_at = 12 + struct.unpack_from("<I", data, 8)[0]
    counts = struct.unpack_from("<10i", data, counts_at)
    names = data[counts_at + 40 :].split(b"\0", counts[0])[: counts[0]]
    phones = tuple(name.decode() for name in names if not name.startswith(b"+"))
    return Inventory(phones, counts[4])
