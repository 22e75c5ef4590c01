"""Speech: the acoustic model of 1907.05701 on prepared real speech, as a workload.

Owns the joining of the prepared file (`dualrt.workloads.asr.store`) and the model
(`dualrt.workloads.asr.blstm`). Must not know how the file was made, nor an algorithm.

A sample is a segment of 21 frames; the loss is the mean cross-entropy over frames, the accuracy
the share of frames whose likeliest label is right, as in the papers' held-out figures.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from dualrt.core.effects import FLOAT32
from dualrt.core.errors import UsageError
from dualrt.workloads.asr.blstm import AcousticModel, frame_cross_entropy
from dualrt.workloads.asr.features import DIMENSIONS
from dualrt.workloads.asr.store import Labels, Segments, SpeechFile
from dualrt.workloads.torch_optimizer import OptimizerFactory
from dualrt.workloads.torch_task import Samples, TorchTask, top1_accuracy


class Speech(TorchTask):
    """Frame classification with a bidirectional LSTM.

    Parameters: `data` is the file that `dualrt asr prepare` wrote; `labels` are its "phones" or
    its tied "states"; `layers` of `cells` a direction and a bottleneck of `projection` make the
    model (the paper's are 6, 512 and 256). `segments` takes only so many training segments, evenly
    spread, for a quicker run. `optimizer`, `device`, `audit`, `precision` and `accumulate` as in
    `TorchTask`.

    Raises:
        UsageError: the file is missing, truncated or foreign, or has too few segments; or the
            model has no layers, cells or projection.
    """

    def __init__(
        self,
        *,
        seed: int,
        learners: int,
        batch: int,
        data: str = "data/fotaq.h5",
        labels: Labels = "phones",
        layers: int = 2,
        cells: int = 128,
        projection: int = 256,
        segments: int | None = None,
        optimizer: OptimizerFactory | None = None,
        device: str = "cpu",
        audit: bool = False,
        precision: str = FLOAT32,
        accumulate: int = 1,
    ) -> None:
        for name, size in (("layers", layers), ("cells", cells), ("projection", projection)):
            if size < 1:
                raise UsageError(f"{name} = {size}: a model has at least one. Choose 1 or more")
        speech = SpeechFile(Path(data)).load()
        outputs = speech.outputs(labels)
        available = len(speech.train)
        if segments is not None and not 0 < segments <= available:
            raise UsageError(
                f"segments = {segments}: the file has {available} training segments. "
                f"Choose from 1 to {available}"
            )
        stride = available / (segments or available)
        chosen = torch.arange(segments or available).mul(stride).long()
        super().__init__(
            seed=seed,
            learners=learners,
            batch=batch,
            module=lambda: _Widened(AcousticModel(DIMENSIONS, layers, cells, projection, outputs)),
            training=_samples(speech.train, labels, chosen),
            held_out=_samples(speech.heldout, labels, torch.arange(len(speech.heldout))),
            loss=frame_cross_entropy,
            accuracy=top1_accuracy,
            optimizer=optimizer,
            device=device,
            audit=audit,
            precision=precision,
            accumulate=accumulate,
        )


class _Widened(nn.Module):
    """Takes half-precision features, which halve the memory of the data, as float32."""

    def __init__(self, model: AcousticModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, features: Tensor) -> Tensor:
        logits: Tensor = self.model(features.float())
        return logits


def _samples(segments: Segments, labels: Labels, chosen: Tensor) -> Samples:
    # The file holds half precision, so nothing is lost.
    features = torch.from_numpy(segments.features)[chosen].half()
    return Samples(features, torch.from_numpy(segments.labels(labels))[chosen])
