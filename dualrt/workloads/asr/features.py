"""What the network sees of a clip: log-mel energies with deltas, cut into segments.

Owns the 120 numbers of a frame and the 21 frames of a segment (arXiv 1907.05701 uses the same
segments and the same log-mel part; its FMLLR and i-vector parts need a speaker-adaptive
recogniser and are left out). Knows nothing of labels.

All of it is deterministic: no dither, and nothing depends on any other clip.
"""

from __future__ import annotations

from typing import Final, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from dualrt.workloads.asr.audio import SAMPLE_RATE_HZ, Samples
from dualrt.workloads.asr.extra import needed

MEL_BINS: Final = 40
DIMENSIONS: Final = 3 * MEL_BINS
SEGMENT_FRAMES: Final = 21

_LOW_HZ, _HIGH_HZ = 64.0, 5_500.0  # the corpus was recorded at 11,025 Hz
_FRAME_MS, _SHIFT_MS = 25.0, 10.0
_INT16_SCALE: Final = 32768.0  # the level at which the floor of the logarithm is below any sound
_STEADY: Final = 1e-3  # a deviation below this is rounding noise, not to be blown up to 1

Frames = NDArray[np.float32]
Scalar = TypeVar("Scalar", bound=np.generic)


def features(samples: Samples) -> Frames:
    """Features `[frames, 120]` of a clip at 16 kHz: zero mean, unit variance in each dimension.

    Frame t covers 25 ms from t * 10 ms on; a clip shorter than one frame has none.

    Raises:
        MissingExtraError: kaldi-native-fbank is not installed.
    """
    static = log_mel(samples)
    if not len(static):
        return np.zeros((0, DIMENSIONS), np.float32)
    velocity = delta(static)
    return normalised(np.hstack([static, velocity, delta(velocity)]))


def log_mel(samples: Samples) -> Frames:
    """The logarithms `[frames, 40]` of the energies in mel-spaced bands, as Kaldi computes them."""
    knf = needed("kaldi_native_fbank", "computing features")
    options = knf.FbankOptions()
    options.frame_opts.samp_freq = SAMPLE_RATE_HZ
    options.frame_opts.frame_length_ms = _FRAME_MS
    options.frame_opts.frame_shift_ms = _SHIFT_MS
    options.frame_opts.dither = 0.0
    options.frame_opts.snip_edges = True
    options.mel_opts.num_bins = MEL_BINS
    options.mel_opts.low_freq = _LOW_HZ
    options.mel_opts.high_freq = _HIGH_HZ
    bank = knf.OnlineFbank(options)
    bank.accept_waveform(SAMPLE_RATE_HZ, samples * _INT16_SCALE)
    bank.input_finished()
    frames = [bank.get_frame(index) for index in range(bank.num_frames_ready)]
    return np.array(frames, np.float32).reshape(len(frames), MEL_BINS)


def delta(frames: Frames) -> Frames:
    """The slope of each column: a regression over two frames either side, edges repeated."""
    padded = np.pad(frames, ((2, 2), (0, 0)), mode="edge")
    near = padded[3:-1] - padded[1:-3]
    far = padded[4:] - padded[:-4]
    return cast(Frames, (near + 2 * far) / np.float32(10))


def normalised(frames: Frames) -> Frames:
    """Each column with its mean over the clip at 0 and its deviation at 1 (0 if it never moves)."""
    centred = frames - frames.mean(axis=0)
    deviation = centred.std(axis=0)
    return cast(Frames, centred / np.where(deviation < _STEADY, np.inf, deviation))


def segments(frames: NDArray[Scalar]) -> NDArray[Scalar]:
    """`[frames, ...]` as `[segments, 21, ...]` without overlap; a remainder is left out."""
    whole = len(frames) // SEGMENT_FRAMES
    return frames[: whole * SEGMENT_FRAMES].reshape(whole, SEGMENT_FRAMES, *frames.shape[1:])
