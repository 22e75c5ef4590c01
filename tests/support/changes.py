"""What threads do to one learner's weights, in an order that a seed draws.

With a lane for each thread, its requests go there, one thread at a time: as a lock would have it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

import torch
from torch import Tensor

from dualrt.core.weights import Snapshot
from dualrt.real.lanes import HOST, Lane
from dualrt.workloads.torch_weights import TorchWeights

SIZE = 50
FREE = (0, 0)
STEPS = 12
IN_LINE = (HOST, HOST, HOST)


def normal(seed: int, size: int = SIZE) -> Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(seed))


def changes(
    weights: TorchWeights,
    seed: int,
    lanes: Sequence[Lane] = IN_LINE,
    delay: Callable[[Random], object] = id,
) -> list[Tensor]:
    """What the threads come to read. `delay` may hold up a lane before each request."""
    draw, held_up = Random(seed), Random(seed + 1)
    vector = weights.snapshot().vector
    given = [normal(n, len(vector)).to(vector.device) for n in range(3 * STEPS + 3)]
    read: list[Tensor] = []
    offered: list[Snapshot[Tensor]] = []
    for step in range(1, STEPS + 1):
        with draw.choice(lanes).use():
            delay(held_up)
            match draw.choice(["descend", "offer", "blend", "blend", "adopt", "read"]):
                case "descend":
                    weights.descend(given[step].mul(2), 0.1, FREE)
                case "offer":
                    offered.append(weights.offer(1))
                    read.append(offered[-1].vector.clone())
                case "blend" if offered:
                    mine = offered.pop(draw.randrange(len(offered)))
                    # A body that has arrived is there for every thread.
                    weights.blend(mine, Snapshot(given[STEPS + step], FREE), 0.5)
                case "adopt":
                    weights.adopt(Snapshot(given[2 * STEPS + step], FREE))
                case _:
                    read.append(weights.snapshot().vector.clone())
    return read
