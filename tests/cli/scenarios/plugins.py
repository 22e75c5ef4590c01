"""A workload and an algorithm of a user's own, beside the scenario that names them."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor

from dualrt.core.learner import Layout, Learner, Strand
from dualrt.core.weights import Gradient
from dualrt.workloads.quadratic import Quadratic
from dualrt.workloads.torch_weights import TorchWeights

GRADIENT_S = 0.05

STARTED = "DUALRT_TEST_STARTED"
"""Environment variable: a folder in which each learner leaves its process's number, in a file named
by its rank, when it computes its first gradient. If a launcher started it, it starts a process of
its own before, as a loader of data might."""


class Sleepy(Quadratic):
    """A quadratic whose gradient takes 50 ms and no processor, so that any machine has enough."""

    def gradient(self, at: Tensor, rank: int, draw: int) -> Gradient[Tensor]:
        if draw == 0 and STARTED in os.environ:
            if "WORLD_SIZE" in os.environ:
                subprocess.Popen(["sleep", "3600"], stdin=subprocess.DEVNULL)
            Path(os.environ[STARTED], str(rank)).write_text(str(os.getpid()))
        time.sleep(GRADIENT_S)
        return super().gradient(at, rank, draw)


class Grinding(Quadratic):
    """Fails while a thread of it goes in and out of native code, as that of another strand may."""

    def gradient(self, at: Tensor, rank: int, draw: int) -> Gradient[Tensor]:
        began = threading.Event()
        threading.Thread(target=_grind, args=(began,), daemon=True).start()
        began.wait()
        raise ArithmeticError("the other one grinds")


def _grind(began: threading.Event) -> None:
    matrix = torch.ones(200, 200)
    for _ in range(10**6):
        torch.mm(matrix, matrix)
        began.set()


class Late(Sleepy):
    """The same; a process that is started again is there when the run is over."""

    def weights(self, rank: int) -> TorchWeights:
        if os.environ.get("DUALRT_INCARNATION", "0") != "0":
            while not Path(os.environ["DUALRT_REPORTS"], "over").exists():
                time.sleep(GRADIENT_S)
        return super().weights(rank)


@final
class Raising(Learner):
    """SGD alone; learner 1 raises after its third step."""

    @classmethod
    def layout(cls, learners: int, *_: Any, **settings: Any) -> Layout:
        return Layout(replicas=tuple(range(learners)))

    def strands(self) -> Sequence[Strand]:
        return (Strand("train", self.train),)

    async def train(self) -> None:
        while not self.finished:
            read = self.weights.snapshot()
            await self.descend(await self.gradient(read), read)
            if (self.rank, self.step) == (1, 3):
                raise ArithmeticError("the third step is one too many")
