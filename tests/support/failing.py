"""One process of a run for real in which a learner fails as code says, and not the scenario.

    python -m tests.support.failing LEARNER STEP SETTING...

prints the summary at whoever has it in the end.
"""

from __future__ import annotations

import sys

from dualrt import api, faults
from dualrt.real.rendezvous import Launch
from dualrt.scenario import load

if __name__ == "__main__":
    launch = Launch.from_environment()
    assert launch is not None
    learner, step = map(int, sys.argv[1:3])
    scenario = load("digits-adpsgd", sys.argv[3:])
    outcome = api.train(scenario, launch, faults=[faults.fail_at(learner, step)])
    if outcome is not None:
        print(outcome.summary.to_json())
