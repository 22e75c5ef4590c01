"""What `train_peers.py` has learned by all media: models, their data, and what a straggler is.

Owns the tasks. Must not know a medium.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dualrt.core.seeds import derive
from dualrt.workloads.asr.blstm import AcousticModel, frame_cross_entropy
from dualrt.workloads.torch_task import Figure, Samples, TorchTask

SEED = 1

DEVICE_S = 0.03
"""A gradient of the device's tasks: about what one of `blstm` takes."""

ON_DEVICE = ("device", "device-wide")


class OnDevice(torch.autograd.Function):
    """A layer whose products another device computes: the processor is free meanwhile."""

    @staticmethod
    def forward(ctx: Any, signal: Tensor, weight: Tensor, bias: Tensor, busy_s: float) -> Tensor:
        """A third of the time, as of a product of matrices."""
        ctx.save_for_backward(weight, bias)
        ctx.busy_s = busy_s
        time.sleep(busy_s / 3)
        return signal + bias.square().sum() / 2

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        """The rest; the gradient is that of half the weights' square, and as large as any."""
        time.sleep(ctx.busy_s * 2 / 3)
        weight, bias = ctx.saved_tensors
        return upstream[0], weight.detach(), bias.detach(), None


class Device(nn.Module):
    """A fully connected network that an accelerator trains, as the processor sees it."""

    def __init__(self, busy_s: float, *widths: int) -> None:
        super().__init__()
        made = [nn.Linear(*both) for both in pairwise(widths)]
        whole = sum(layer.weight.numel() for layer in made)
        self._busy_s = [busy_s * layer.weight.numel() / whole for layer in made]
        self.layers = nn.ModuleList(made)

    def forward(self, inputs: Tensor) -> Tensor:
        """A number for each sample, the same for all."""
        signal = inputs.new_zeros((), requires_grad=True)
        for layer, busy_s in zip(self.layers, self._busy_s, strict=True):
            signal = OnDevice.apply(signal, layer.weight, layer.bias, busy_s)  # type: ignore[no-untyped-call]  # torch's
        return signal.expand(len(inputs))


def mean_output(outputs: Tensor, targets: Tensor) -> Tensor:
    """The loss on a device, which no target matters to."""
    return outputs.mean()


def network(*widths: int) -> nn.Module:
    """A fully connected network."""
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise(widths):
        layers += [nn.Linear(fan_in, fan_out), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def clusters(samples: int) -> Samples:
    """Ten clouds of 64 numbers, which a network can tell apart."""
    generator = torch.Generator().manual_seed(derive(SEED, "clusters"))
    centres = torch.randn(10, 64, generator=generator)
    targets = torch.randint(10, (samples,), generator=generator)
    return Samples(centres[targets] + torch.randn(samples, 64, generator=generator), targets)


def segments(samples: int) -> Samples:
    """Segments of 21 frames of 120 features, each frame of one of 40 phones."""
    generator = torch.Generator().manual_seed(derive(SEED, "segments"))
    centres = torch.randn(40, 120, generator=generator)
    targets = torch.randint(40, (samples, 21), generator=generator)
    return Samples(centres[targets] + torch.randn(samples, 21, 120, generator=generator), targets)


class Task(NamedTuple):
    """What is learned."""

    module: Callable[[], nn.Module]
    samples: Callable[[], Samples]
    loss: Figure
    batch: int
    rate: float


def of_clouds(*widths: int, batch: int, rate: float) -> Task:
    """A network of these widths that tells ten clouds apart."""
    return Task(
        lambda: network(64, *widths, 10),
        lambda: clusters(4096),
        nn.functional.cross_entropy,
        batch=batch,
        rate=rate,
    )


def on_device(*widths: int) -> Task:
    """A network of these widths that a device trains."""
    return Task(
        lambda: Device(DEVICE_S, *widths),
        lambda: clusters(4096),
        mean_output,
        batch=32,
        rate=0.001,
    )


TASKS: Mapping[str, Task] = {
    "mlp": of_clouds(50, 50, batch=16, rate=0.05),
    "wide": of_clouds(1024, 1024, 1024, batch=32, rate=0.02),
    "blstm": Task(
        lambda: AcousticModel(120, 2, 128, 256, 40),
        lambda: segments(1024),
        frame_cross_entropy,
        batch=32,
        rate=0.3,
    ),
    "device": on_device(64, 600, 600, 450, 10),
    "device-wide": on_device(64, 1024, 1024, 1024, 10),
}


class Learned(TorchTask):
    """A task as a workload of dualrt, without held-out samples: they would take time at the end.

    `lags_s` is how long each learner sleeps in a gradient.
    """

    def __init__(
        self, *, seed: int, learners: int, batch: int, task: str, lags_s: tuple[float, ...] = ()
    ) -> None:
        chosen = TASKS[task]
        self._lags_s, self._lag_s = lags_s, 0.0
        training = chosen.samples()
        super().__init__(
            seed=seed,
            learners=learners,
            batch=batch,
            module=chosen.module,
            training=training,
            held_out=Samples(*(part[:0] for part in training)),
            loss=chosen.loss,
        )

    @contextmanager
    def _losses_at(self, at: Tensor, rank: int, draw: int) -> Iterator[Iterator[Tensor]]:
        self._lag_s = self._lags_s[rank] if self._lags_s else 0.0
        with super()._losses_at(at, rank, draw) as losses:
            yield losses

    def _mean_loss(self, inputs: Tensor, targets: Tensor) -> Tensor:
        loss = super()._mean_loss(inputs, targets)
        lag(self._lag_s)
        return loss


def lag(lag_s: float) -> None:
    """Be a straggler, between the forward and the backward pass, whatever the medium."""
    if lag_s > 0:
        time.sleep(lag_s)
