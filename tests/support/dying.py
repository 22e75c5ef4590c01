"""One process of a run for real, in which a learner is killed at a certain mini-batch.

    python -m tests.support.dying RANK@BATCH,... SETTING...

prints the summary at whoever has it in the end.
"""

from __future__ import annotations

import os
import signal
import sys

from dualrt import api
from dualrt.core.records import Span, Update
from dualrt.real.rendezvous import Launch
from dualrt.scenario import load


class Killed:
    """An observer that kills its process, as the kernel would, at mini-batch `last`."""

    def __init__(self, last: int | None) -> None:
        self._left = last

    def span(self, span: Span) -> None:
        if self._left is not None and span.kind == "gradient":
            self._left -= 1
            if self._left < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    def update(self, time_s: float, update: Update) -> None:
        pass


if __name__ == "__main__":
    launch = Launch.from_environment()
    assert launch is not None
    doomed = {
        int(rank): int(at) for rank, at in (d.split("@") for d in sys.argv[1].split(",") if d)
    }
    scenario = load("digits-adpsgd", sys.argv[2:])
    outcome = api.train(scenario, launch, observer=Killed(doomed.get(launch.rank)))
    if outcome is not None:
        print(outcome.summary.to_json())
