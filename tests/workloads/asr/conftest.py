"""Synthetic speech for the tests, and the reasons why there may be none."""

from __future__ import annotations

import shutil

import pytest

from dualrt.workloads.asr.align import Aligner
from dualrt.workloads.asr.synthetic import spoken_digits
from dualrt.workloads.asr.utterance import Corpus


@pytest.fixture(scope="session")
def digits() -> Corpus:
    """Twelve synthetic digit strings."""
    if shutil.which("espeak-ng") is None:
        pytest.skip("espeak-ng is not installed")
    pytest.importorskip("soundfile")
    return spoken_digits(12, seed=5)


@pytest.fixture(scope="session")
def aligner() -> Aligner:
    pytest.importorskip("pocketsphinx")
    return Aligner()
