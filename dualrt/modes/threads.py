"""Threads: how many of torch's compute a gradient, in both modes alike."""

from __future__ import annotations

import sys

from dualrt.scenario import Scenario


def set_threads(scenario: Scenario) -> None:
    """Set torch's threads, if it is there: speed and bits depend on their number."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(scenario.real.threads_per_learner)
