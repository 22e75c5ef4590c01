from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualrt.workloads.asr.audio import Samples
from dualrt.workloads.asr.features import delta, features, log_mel, normalised, segments

knf = pytest.importorskip("kaldi_native_fbank")


def noise(length: int, seed: int = 0) -> Samples:
    return (0.1 * np.random.default_rng(seed).standard_normal(length)).astype(np.float32)


def test_a_frame_is_120_numbers_every_10_ms() -> None:
    assert features(noise(16_000)).shape == (98, 120)
    assert features(noise(16_000)).dtype == np.float32


def test_the_same_samples_give_the_same_bits() -> None:
    np.testing.assert_array_equal(features(noise(8_000)), features(noise(8_000)))


@pytest.mark.parametrize("length", [0, 1, 399])
def test_less_than_a_frame_of_sound_has_no_features(length: int) -> None:
    assert features(noise(length)).shape == (0, 120)


def test_a_clip_has_zero_mean_and_unit_variance() -> None:
    frames = features(noise(32_000))
    np.testing.assert_allclose(frames.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(frames.std(axis=0), 1, atol=1e-3)


def test_loudness_does_not_matter() -> None:
    softer = (noise(8_000) / 8).astype(np.float32)
    np.testing.assert_allclose(features(softer), features(noise(8_000)), atol=1e-3)


def test_digital_silence_gives_zeros() -> None:
    np.testing.assert_array_equal(features(np.zeros(8_000, np.float32)), 0)


def test_a_higher_tone_excites_a_higher_band() -> None:
    times = np.arange(8_000) / 16_000
    bands = [
        log_mel(np.sin(2 * np.pi * hz * times).astype(np.float32)).mean(axis=0).argmax()
        for hz in (200, 800, 2_000, 5_000)
    ]
    assert bands == sorted(set(bands))


def test_the_delta_of_a_line_is_its_slope() -> None:
    frames = np.arange(12, dtype=np.float32)[:, None] * np.array([[1, -3]], np.float32)
    np.testing.assert_allclose(delta(frames)[2:-2], np.broadcast_to([1, -3], (8, 2)), rtol=1e-6)


def test_the_delta_agrees_with_kaldi() -> None:
    frames = np.random.default_rng(1).standard_normal((30, 4)).astype(np.float32)
    if not hasattr(knf, "compute_deltas"):
        pytest.skip("this kaldi-native-fbank has no deltas")
    options = knf.DeltaOptions()
    options.order, options.window = 2, 2
    theirs = np.asarray(knf.compute_deltas(options, frames))
    np.testing.assert_allclose(delta(frames), theirs[:, 4:8], atol=1e-5)


def test_a_constant_column_is_normalised_to_zero() -> None:
    np.testing.assert_array_equal(normalised(np.full((5, 2), 7, np.float32)), 0)


@given(st.integers(0, 100))
def test_segments_are_consecutive_and_a_remainder_is_left_out(frames: int) -> None:
    cut = segments(np.arange(frames))
    assert cut.shape == (frames // 21, 21)
    np.testing.assert_array_equal(cut.ravel(), np.arange(frames // 21 * 21))
