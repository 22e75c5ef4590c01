"""Faults of a scenario that befell nobody, which who asked for them should hear of.

Owns the finding and its words. Must not know how a driver makes faults happen. A period that begins
when the run is over, a step that nobody gets to and a misspelt tag all give the figures of a run in
which nothing goes wrong, and look as if that had been borne well.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from typing import TypeVar

from dualrt.core.faults import Crash, Fault, Toll
from dualrt.scenario.faults import Messages, Period
from dualrt.scenario.models import Scenario

_Key = TypeVar("_Key", bound=Hashable)


def spared(
    scenario: Scenario, elapsed_s: float, toll: Toll | None, faults: Sequence[Fault] = ()
) -> tuple[str, ...]:
    """A warning for each fault that had no effect in a run that took `elapsed_s`.

    `faults` came on top of the scenario's; `toll` is of them all.
    """
    others = [fault for fault in faults if isinstance(fault, Crash)]
    return tuple(
        f"{scenario.source}: faults.{key} has no effect: {why}"
        for key, why in _found(scenario, elapsed_s, toll or Toll(), others)
    )


def _found(
    scenario: Scenario, elapsed_s: float, toll: Toll, others: Sequence[Crash]
) -> Iterator[tuple[str, str]]:
    """The key of each, and why."""
    over = f"the run was over at {elapsed_s:.4g} s"
    crashes = [crash.build() for crash in scenario.faults.crashes]
    survived = _survived([*crashes, *others], toll)
    for position, crash in enumerate(crashes):
        if any(one is crash for one in survived):
            down = crash.at_s is not None and crash.at_s < elapsed_s
            why = "was down already" if down else f"did not get there; {over}"
            yield f"crashes.{position}", f"learner {crash.learner} {why}"
    for kind, faults in scenario.faults:
        for position, fault in enumerate(faults if isinstance(faults, tuple) else ()):
            key = f"{kind}.{position}"
            if isinstance(fault, Period) and fault.start_s >= elapsed_s:
                yield key, f"it begins at {fault.start_s:g} s, and {over}"
            elif isinstance(fault, Messages):
                yield from _unsent(key, fault, toll)


def _survived(crashes: Sequence[Crash], toll: Toll) -> list[Crash]:
    """Those that did not happen.

    One of a time happened at it; those of steps happen in the order of these, so that as many of
    the first did as the learner's other crashes are.
    """
    happened, survived = Counter(toll.crashed), list[Crash]()
    for crash in crashes:
        if crash.at_s is not None and not _struck_off(happened, (crash.learner, crash.at_s)):
            survived.append(crash)
    others = Counter(learner for learner, _ in happened.elements())
    of_steps = (crash for crash in crashes if crash.at_step is not None)
    for crash in sorted(of_steps, key=lambda crash: crash.at_step or 0):
        if not _struck_off(others, crash.learner):
            survived.append(crash)
    return survived


def _struck_off(happened: Counter[_Key], one: _Key) -> bool:
    """Whether it was there, and is there once less now."""
    if not happened[one]:
        return False
    happened[one] -= 1
    return True


def _unsent(key: str, fault: Messages, toll: Toll) -> Iterator[tuple[str, str]]:
    sent = ", ".join(toll.tags) or "none"
    for position, tag in enumerate(fault.tags or ()):
        if tag not in toll.tags:
            yield f"{key}.tags.{position}", f"no message is of kind {tag!r}. Those sent are: {sent}"
