"""Handwritten digits: a real data set small enough to learn in seconds on a CPU.

Owns the data, their split and the network. Must not know an algorithm.

scikit-learn ships 1,797 images of 8x8 pixels. They are few, but enough to show the discovery of
1907.05701 and 2112.01433: at a large batch and a large constant learning rate the mean gradient
goes astray where the same gradients, each taken at a learner's own weights that are averaged with
a neighbour's, learn. With 16 learners of batch 64, a rate of 1.4 and 100 epochs, held-out error
over ten seeds was 57 to 92 % for SSGD (median 81 %) and 4 to 12 % (median 6 %) for a ring that
averages in pairs. At a rate of 0.5 both learn; at 2 neither does.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import nn

from dualrt.core.effects import FLOAT32
from dualrt.core.errors import MissingExtraError, UsageError
from dualrt.core.seeds import derive
from dualrt.workloads.torch_optimizer import OptimizerFactory
from dualrt.workloads.torch_task import Samples, TorchTask, top1_accuracy

TRAINING_SAMPLES = 1_437
HELD_OUT_SAMPLES = 360
_PIXELS, _LARGEST_PIXEL, _CLASSES = 64, 16.0, 10


class Digits(TorchTask):
    """A fully connected ReLU network on the digits, with cross-entropy and accuracy.

    Parameters: `hidden` are the widths of the hidden layers; 2112.01433 uses two of 50 on MNIST.
    `optimizer`, `device`, `audit`, `precision` and `accumulate` as in `TorchTask`. Pixels are
    scaled to 0..1.
    The split into 1,437 and 360 does not depend on `seed`, so held-out figures of different seeds
    compare.

    Raises:
        MissingExtraError: scikit-learn is not installed.
        UsageError: a width is not positive.
    """

    def __init__(
        self,
        *,
        seed: int,
        learners: int,
        batch: int,
        hidden: Sequence[int] = (50, 50),
        optimizer: OptimizerFactory | None = None,
        device: str = "cpu",
        audit: bool = False,
        precision: str = FLOAT32,
        accumulate: int = 1,
    ) -> None:
        if any(width < 1 for width in hidden):
            raise UsageError(f"hidden = {list(hidden)}: a layer's width is 1 or more.")
        training, held_out = _load()
        super().__init__(
            seed=seed,
            learners=learners,
            batch=batch,
            module=lambda: _network((_PIXELS, *hidden, _CLASSES)),
            training=training,
            held_out=held_out,
            loss=nn.functional.cross_entropy,
            accuracy=top1_accuracy,
            optimizer=optimizer,
            device=device,
            audit=audit,
            precision=precision,
            accumulate=accumulate,
        )


def _network(widths: Sequence[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise(widths):
        layers += [nn.Linear(fan_in, fan_out), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def _load() -> tuple[Samples, Samples]:
    try:
        # Not above: it takes about a second, which only those who load the data should pay.
        from sklearn.datasets import load_digits
    except ModuleNotFoundError as error:
        raise MissingExtraError("scikit-learn", "train", "The workload 'digits'") from error
    images, labels = load_digits(return_X_y=True)
    inputs = torch.from_numpy(np.asarray(images / _LARGEST_PIXEL, dtype=np.float32))
    targets = torch.from_numpy(np.asarray(labels, dtype=np.int64))
    key = derive(0, "digits", "split")
    order = torch.from_numpy(
        np.random.Generator(np.random.Philox(key=key)).permutation(len(inputs))
    )
    chosen, held_out = torch.split(order, [TRAINING_SAMPLES, HELD_OUT_SAMPLES])
    return Samples(inputs[chosen], targets[chosen]), Samples(inputs[held_out], targets[held_out])
