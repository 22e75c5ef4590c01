"""Faults of a scenario that befell nobody, which who asked for them should hear of.

Owns the finding and its words. Must not know how a driver makes faults happen. A period that begins
when the run is over, a step that nobody gets to and a misspelt tag all give the figures of a run in
which nothing goes wrong, and look as if that had been borne well.
"""

from __future__ import annotations

from collections.abc import Iterator

from dualrt.core.faults import Toll
from dualrt.scenario.faults import Crash, Messages, Period
from dualrt.scenario.models import Scenario


def spared(scenario: Scenario, elapsed_s: float, toll: Toll | None) -> tuple[str, ...]:
    """A warning for each fault that had no effect in a run that took `elapsed_s`."""
    return tuple(
        f"{scenario.source}: faults.{key} has no effect: {why}"
        for key, why in _found(scenario, elapsed_s, toll or Toll())
    )


def _found(scenario: Scenario, elapsed_s: float, toll: Toll) -> Iterator[tuple[str, str]]:
    """The key of each, and why."""
    over = f"the run was over at {elapsed_s:.4g} s"
    crashed = {learner for learner, _ in toll.crashed}
    for kind, faults in scenario.faults:
        for position, fault in enumerate(faults if isinstance(faults, tuple) else ()):
            key = f"{kind}.{position}"
            if isinstance(fault, Crash) and fault.learner not in crashed:
                yield key, f"learner {fault.learner} did not get there; {over}"
            if isinstance(fault, Period) and fault.start_s >= elapsed_s:
                yield key, f"it begins at {fault.start_s:g} s, and {over}"
            elif isinstance(fault, Messages) and not _meets(fault, toll):
                sent = ", ".join(toll.tags) or "none"
                yield f"{key}.tags", f"no message has one of these. Those sent have: {sent}"


def _meets(fault: Messages, toll: Toll) -> bool:
    return fault.tags is None or any(tag in toll.tags for tag in fault.tags)
