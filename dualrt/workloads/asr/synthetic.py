"""Synthetic speech: digits spoken by espeak-ng, for tests and first tries.

Owns which digits are spoken, by which voices. What it yields is an ordinary utterance that goes
through the same alignment as real speech, and everything that names it says "synthetic".
"""

from __future__ import annotations

import hashlib
import random
import shutil
import subprocess
from typing import Final

from dualrt.core.errors import UsageError
from dualrt.workloads.asr.utterance import Corpus, Utterance

_PROGRAM: Final = "espeak-ng"
_DIGITS: Final = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_VOICES: Final = ("en-us+m1", "en-us+m3", "en-us+m7", "en-us+f1", "en-us+f2", "en-us+f4")


def spoken_digits(count: int, *, seed: int) -> Corpus:
    """Synthetic speech: `count` strings of three to seven digits.

    The digits, the voice of each string and its speed are drawn from `seed`.
    Each string is a group of its own: strings are held out, not voices.

    Raises:
        UsageError: espeak-ng is not installed, or failed.
    """
    draw = random.Random(seed)
    utterances = []
    for index in range(count):
        voice = draw.choice(_VOICES)
        words = " ".join(draw.choices(_DIGITS, k=draw.randint(3, 7)))
        audio = _spoken(words, voice, words_per_minute=draw.randint(130, 190))
        clip = f"synthetic-{seed}-{index}"
        utterances.append(Utterance(clip, clip, clip, f"synthetic-{voice}", words, audio))
    name = f"synthetic digits: {count} strings, seed {seed}"
    audio_sha256 = hashlib.sha256(b"".join(utterance.audio for utterance in utterances))
    return Corpus(name, audio_sha256.hexdigest(), synthetic=True, utterances=tuple(utterances))


def _spoken(words: str, voice: str, *, words_per_minute: int) -> bytes:
    if shutil.which(_PROGRAM) is None:
        raise UsageError(
            f"synthetic speech needs the program {_PROGRAM}, which is not installed. Install the "
            f"system package {_PROGRAM}."
        )
    command = [_PROGRAM, "--stdout", "-v", voice, "-s", str(words_per_minute), words]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode != 0:
        raise UsageError(
            f"{' '.join(command)} failed with exit code {done.returncode}: "
            f"{done.stderr.decode(errors='replace').strip()}. Check that the voice {voice} exists."
        )
    return done.stdout
