"""Digits that train slowly for as long as a test has something to do to their processes."""

from __future__ import annotations

import os
import time
from pathlib import Path

from torch import Tensor

from dualrt.core.weights import Gradient
from dualrt.workloads.digits import Digits

HELD = "DUALRT_TEST_HELD"
"""Environment variable: a folder. While the file `hold` is in it, a gradient takes `GRADIENT_S`;
each process leaves its number there, as `RANK.INCARNATION`, when it computes its first one."""

GRADIENT_S = 0.1


class Held(Digits):
    """The digits, at a speed that is chosen while they are trained."""

    told = False

    def gradient(self, at: Tensor, rank: int, draw: int) -> Gradient[Tensor]:
        folder = os.environ.get(HELD)
        if folder is not None:
            self._tell(Path(folder, f"{rank}.{os.environ['DUALRT_INCARNATION']}"))
            if Path(folder, "hold").exists():
                time.sleep(GRADIENT_S)
        return super().gradient(at, rank, draw)

    def _tell(self, file: Path) -> None:
        if not self.told:
            self.told = True
            unfinished = file.with_name(f"part {file.name}")
            unfinished.write_text(str(os.getpid()))
            unfinished.rename(file)
