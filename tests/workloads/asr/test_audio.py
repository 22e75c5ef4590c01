from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualrt.core.errors import UsageError
from dualrt.workloads.asr.audio import Samples, pcm16, resampled, samples_of


def tone(frequency_hz: float, rate_hz: int, seconds: float = 0.5) -> Samples:
    times = np.arange(int(rate_hz * seconds)) / rate_hz
    return np.sin(2 * np.pi * frequency_hz * times).astype(np.float32)


def wav(samples: Any, rate_hz: int) -> bytes:
    soundfile = pytest.importorskip("soundfile")
    file = io.BytesIO()
    soundfile.write(file, samples, rate_hz, format="WAV", subtype="FLOAT")
    return file.getvalue()


@pytest.mark.parametrize("frequency_hz", [100.0, 1_000.0, 4_000.0])
@pytest.mark.parametrize("rate_hz", [11_025, 22_050, 48_000])
def test_a_tone_stays_the_same_tone(frequency_hz: float, rate_hz: int) -> None:
    heard = resampled(tone(frequency_hz, rate_hz), rate_hz, 16_000)
    meant = tone(frequency_hz, 16_000)
    inside = slice(400, -400)
    np.testing.assert_allclose(heard[: len(meant)][inside], meant[inside], atol=2e-3)


def test_what_the_lower_rate_cannot_hold_is_removed() -> None:
    heard = resampled(tone(10_500, 22_050), 22_050, 16_000)
    assert np.abs(heard[400:-400]).max() < 1e-3


@given(st.integers(0, 300), st.sampled_from([8_000, 11_025, 16_000, 44_100]))
def test_the_length_follows_the_rates(length: int, rate_hz: int) -> None:
    heard = resampled(np.ones(length, np.float32), rate_hz, 16_000)
    assert len(heard) == -(-length * 16_000 // rate_hz)
    assert heard.dtype == np.float32


def test_a_clip_is_decoded_at_16_khz() -> None:
    heard = samples_of(wav(tone(500, 11_025), 11_025), "it")
    np.testing.assert_array_equal(heard, resampled(tone(500, 11_025), 11_025, 16_000))


def test_bytes_that_are_no_audio_name_the_clip() -> None:
    pytest.importorskip("soundfile")
    with pytest.raises(UsageError, match="clip it: cannot be decoded"):
        samples_of(b"no audio at all", "it")


def test_stereo_is_refused() -> None:
    with pytest.raises(UsageError, match="clip it: has 2 channels"):
        samples_of(wav(np.zeros((100, 2)), 16_000), "it")


def test_integers_are_scaled_rounded_and_clipped() -> None:
    integers = np.frombuffer(pcm16(np.array([0, 1, -1, 2, 0.6 / 32767], np.float32)), np.int16)
    assert integers.tolist() == [0, 32767, -32767, 32767, 1]
