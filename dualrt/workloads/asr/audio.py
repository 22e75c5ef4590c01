"""From an encoded clip to samples at one rate.

Owns decoding and resampling. Knows nothing of features or alignment, but serves both with the same
samples, so that their frames cover the same stretches of sound.

Everything runs at 16 kHz, although the corpus has 11,025 Hz: the aligner's acoustic model has mel
filters from 130 to 6,800 Hz and 10 ms frames of 160 samples, which only 16 kHz gives; and 10 ms are
not a whole number of samples at 11,025 Hz, where features would drift by a frame in four seconds
against labels. Sound above 5.5 kHz is empty either way.
"""

from __future__ import annotations

import io
from functools import cache
from math import ceil, gcd
from typing import Final, cast

import numpy as np
from numpy.typing import NDArray

from dualrt.core.errors import UsageError
from dualrt.workloads.asr.extra import needed

SAMPLE_RATE_HZ: Final = 16_000
FRAME_SHIFT_SAMPLES: Final = 160

_ZERO_CROSSINGS: Final = 16
_KAISER_BETA: Final = 8.0

Samples = NDArray[np.float32]


def samples_of(audio: bytes, clip: str) -> Samples:
    """The samples, in [-1, 1], of an encoded mono clip, at 16 kHz.

    Raises:
        UsageError: the bytes are no audio, or have several channels; names the `clip`.
        MissingExtraError: soundfile is not installed.
    """
    soundfile = needed("soundfile", "decoding audio")
    try:
        decoded, rate_hz = soundfile.read(io.BytesIO(audio), dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as failure:
        raise UsageError(
            f"clip {clip}: cannot be decoded: {failure}. Fetch the corpus again; MP3 needs "
            "libsndfile 1.1 or newer."
        ) from failure
    if decoded.shape[1] != 1:
        raise UsageError(f"clip {clip}: has {decoded.shape[1]} channels. Give mono audio.")
    return resampled(decoded[:, 0], rate_hz, SAMPLE_RATE_HZ)


def resampled(samples: Samples, from_hz: int, to_hz: int) -> Samples:
    """Band-limited interpolation of `samples` with a Kaiser-windowed sinc.

    An output sample that falls between two input samples is the sum of its neighbours, weighted by
    a low-pass filter centred on it; only as many different weightings exist as the reduced ratio of
    the rates has phases.
    """
    if from_hz == to_hz or not len(samples):
        return samples
    up, down = to_hz // gcd(from_hz, to_hz), from_hz // gcd(from_hz, to_hz)
    filters = _filters(up, down)
    reach = filters.shape[1] // 2
    positions = np.arange(ceil(len(samples) * up / down)) * down
    padded = np.pad(samples, (reach - 1, reach))
    neighbours = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach)[positions // up]
    return cast(Samples, np.einsum("nk,nk->n", neighbours, filters[positions % up]))


@cache
def _filters(up: int, down: int) -> Samples:
    """Weights `[up, taps]`: row p is for outputs that lie p/up behind an input sample."""
    cutoff = min(1.0, up / down)
    reach = ceil(_ZERO_CROSSINGS / cutoff)
    offset = np.arange(1 - reach, reach + 1) - np.arange(up)[:, None] / up
    window = np.i0(_KAISER_BETA * np.sqrt(np.maximum(0, 1 - (offset / reach) ** 2)))
    weights = np.sinc(cutoff * offset) * window
    filters: Samples = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    return filters


def pcm16(samples: Samples) -> bytes:
    """The samples as 16-bit integers in the machine's byte order."""
    integers: NDArray[np.int16] = np.round(np.clip(samples, -1, 1) * 32767).astype(np.int16)
    return integers.tobytes()
