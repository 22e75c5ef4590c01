from __future__ import annotations

from pathlib import Path

import pytest

from dualrt.core.errors import UsageError
from dualrt.workloads.asr.synthetic import spoken_digits
from dualrt.workloads.asr.utterance import Corpus


def test_everything_says_that_it_is_synthetic(digits: Corpus) -> None:
    assert digits.synthetic
    assert digits.name.startswith("synthetic")
    for utterance in digits.utterances:
        assert utterance.clip.startswith("synthetic")
        assert utterance.dialogue.startswith("synthetic")


@pytest.mark.usefixtures("digits")  # for its reasons to skip
def test_a_seed_decides_every_byte() -> None:
    assert spoken_digits(2, seed=5) == spoken_digits(2, seed=5)
    assert spoken_digits(2, seed=5) != spoken_digits(2, seed=6)


def test_without_the_speaker_the_error_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="espeak-ng, which is not installed"):
        spoken_digits(1, seed=0)
