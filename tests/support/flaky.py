"""One process of a doctor's look at a run, whose library fails once at one of them.

    python -m tests.support.flaky RANK FAILURES SETTING...

prints the report at rank 0. At RANK so many allreduces are said to have failed, though none did.
"""

from __future__ import annotations

import sys
from typing import Any
from unittest import mock

from dualrt.doctor.examination import examine
from dualrt.real.collectives import Collectives
from dualrt.real.rendezvous import Launch
from dualrt.scenario import load

WORDS = "the library has a bad day"


def fail(times: int) -> None:
    """Have so many allreduces of this process fail once they are over."""
    whole = Collectives.allreduce
    left = times

    def halting(*given: Any, **named: Any) -> Any:
        nonlocal left
        mean = whole(*given, **named)
        left -= 1
        if left >= 0:
            raise RuntimeError(WORDS)
        return mean

    # For good: the process is ours.
    mock.patch.object(Collectives, "allreduce", halting).start()


if __name__ == "__main__":
    launch = Launch.from_environment()
    assert launch is not None
    if launch.rank == int(sys.argv[1]):
        fail(int(sys.argv[2]))
    scenario = load("quadratic-sd-psgd", sys.argv[3:])
    report = examine(scenario, launch, alone=False, out=None, tell=lambda share: None)
    if report is not None:
        print(report.to_json())
