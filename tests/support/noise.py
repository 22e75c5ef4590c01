"""Segments of noise that pass for prepared speech: enough where only arithmetic is compared."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dualrt.workloads.asr.store import Block, Description, SpeechWriter

FRAMES, DIMENSIONS, PHONES = 21, 120, 5


def prepared(path: Path) -> Path:
    """A file of 64 training segments and 16 held-out ones, as `dualrt asr prepare` writes it."""
    names = [str(phone) for phone in range(PHONES)]
    with SpeechWriter(path) as writer:
        writer.append("train", _noise(64, seed=1))
        writer.append("heldout", _noise(16, seed=2))
        writer.finish(Description("noise", "", True, phone_names=names, states=PHONES))
    return path


def _noise(segments: int, seed: int) -> Block:
    draw = np.random.default_rng(seed)
    labels = draw.integers(PHONES, size=(segments, FRAMES))
    return Block(
        draw.normal(size=(segments, FRAMES, DIMENSIONS)).astype(np.float16),
        labels.astype(np.uint8),
        labels.astype(np.int16),
    )
