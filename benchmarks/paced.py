"""Digits whose gradients take as long as on a device of their own, and say when they were taken.

Owns the pace and the marks that `kills.py` reads. Must not know who is killed.

A learner sleeps in each gradient, so processes that share cores compete only for what the runtime
itself takes. Each life of a learner writes a file `RANK.INCARNATION`: eight bytes a mark, which
outlive a SIGKILL, by the clock that all processes of a machine share.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from struct import Struct

from torch import Tensor

from dualrt.core.weights import Gradient
from dualrt.workloads.digits import Digits

MARKS = "DUALRT_BENCHMARK_MARKS"
"""Environment variable: the folder for the files."""

STEP_S = 0.025

MARK = Struct("d")
"""First the processor time that the process took until its first gradient, then when each ended."""


class Paced(Digits):
    """The digits, a gradient every `STEP_S` at most."""

    _file = -1

    def gradient(self, at: Tensor, rank: int, draw: int) -> Gradient[Tensor]:
        if self._file < 0:
            name = f"{rank}.{os.environ['DUALRT_INCARNATION']}"
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
            self._file = os.open(Path(os.environ[MARKS], name), flags)
            os.write(self._file, MARK.pack(time.process_time()))
        gradient = super().gradient(at, rank, draw)
        time.sleep(STEP_S)
        os.write(self._file, MARK.pack(time.monotonic()))
        return gradient
