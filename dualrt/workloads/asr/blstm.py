"""The acoustic model of arXiv 1907.05701: bidirectional LSTM layers and a softmax over labels.

Owns the network, its size, and what is minimised and measured. Knows nothing of data or training.
Imports torch; import it only where a network is needed.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

FP32_BYTES = 4


class AcousticModel(nn.Module):
    """`layers` bidirectional LSTMs of `cells` a direction, a linear bottleneck, a linear output.

    Input `[batch, frames, inputs]`, output logits `[batch, frames, outputs]`; a segment's state
    starts at zero. The bottleneck has no non-linearity (arXiv 1907.05701): it factors the large
    output matrix.
    """

    def __init__(self, inputs: int, layers: int, cells: int, projection: int, outputs: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(inputs, cells, layers, batch_first=True, bidirectional=True)
        self.projection = nn.Linear(2 * cells, projection)
        self.output = nn.Linear(projection, outputs)

    def forward(self, features: Tensor) -> Tensor:
        hidden, _ = self.lstm(features)
        logits: Tensor = self.output(self.projection(hidden))
        return logits


def parameter_count(inputs: int, layers: int, cells: int, projection: int, outputs: int) -> int:
    """How many parameters an `AcousticModel` of this shape has, without building it.

    A direction of an LSTM layer has four gates, each with weights from the input and from its own
    cells, and two bias vectors, one for either (torch, like cuDNN, keeps both). Of the readings of
    "over 43 M parameters" (arXiv 1907.05701) and "164.62 MB" (arXiv 2112.01433), only this one
    fits, with MB = 2^20 bytes: 43,154,944 parameters at 4 bytes are 164.62 MB; with a single bias
    vector they would be 164.53 MB, and with MB = 10^6 bytes 172.62 MB.
    """
    widths = [inputs] + [2 * cells] * (layers - 1)
    lstm = sum(2 * 4 * cells * (width + cells + 2) for width in widths)
    return lstm + (2 * cells + 1) * projection + (projection + 1) * outputs


def frame_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """The mean over all frames of -log p(label), in nats: logits `[..., K]`, labels `[...]`."""
    return nn.functional.cross_entropy(logits.flatten(0, -2), labels.flatten())


def frame_accuracy(logits: Tensor, labels: Tensor) -> float:
    """The share of frames, in [0, 1], whose likeliest label is the right one."""
    return float((logits.argmax(-1) == labels).to(torch.float32).mean())
