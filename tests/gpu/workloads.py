"""Small models on whichever device."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from dualrt.workloads.asr.blstm import AcousticModel, frame_cross_entropy
from dualrt.workloads.torch_task import Samples, TorchTask
from tests.support.changes import normal


def perceptron(**settings: Any) -> TorchTask:
    """Two layers, of 1.3 MB."""
    inputs = normal(1, 192 * 60).reshape(192, 60)
    return TorchTask(
        seed=1,
        learners=3,
        batch=16,
        module=lambda: nn.Sequential(nn.Linear(60, 5_000), nn.Tanh(), nn.Linear(5_000, 3)),
        training=Samples(inputs, inputs[:, :3].argmax(1)),
        held_out=Samples(inputs[:0], torch.arange(0)),
        loss=nn.functional.cross_entropy,
        **settings,
    )


def recurrent(**settings: Any) -> TorchTask:
    """The paper's acoustic model in small."""
    inputs = normal(1, 48 * 5 * 20).reshape(48, 5, 20)
    return TorchTask(
        seed=1,
        learners=3,
        batch=12,
        module=lambda: AcousticModel(20, 2, 16, 8, 7),
        training=Samples(inputs, inputs[:, :, :7].argmax(2)),
        held_out=Samples(inputs[:0], torch.zeros(0, 5, dtype=torch.int64)),
        loss=frame_cross_entropy,
        **settings,
    )
