"""Remarks: what a run's figures say that nobody may have looked for.

Owns the findings and their words. Must not know a driver, nor who is told.

A run that has diverged and one in which some learners did next to nothing both end well.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from dualrt.observe.kinds import Activity
from dualrt.observe.tally import Tally

FEW = 0.25
"""Of the steps of whoever made most: a learner that made less is worth a word."""

AT_LEAST = 100
"""Steps that somebody must have made before these are compared: fewer say nothing."""

HELD_UP = 0.5
"""Of the run's time: so much of it in exchanges explains that a learner made few steps."""


def remarks(tally: Tally, *, faults: bool) -> tuple[str, ...]:
    """A line for each finding; none for a run that went as it should.

    `faults` is whether learners or messages were lost, which explains that others waited.
    """
    return (*_diverged(tally), *(() if faults else _held_up(tally)))


def _diverged(tally: Tally) -> Iterator[str]:
    recent = tally.curve.recent_loss()
    if recent is None or math.isfinite(recent):
        return
    first = next(one for one in tally.curve.bins() if one.diverged)
    yield (
        f"the training loss is not finite from epoch {first.epoch / first.updates:.3g} on, so the "
        "run has diverged. Take smaller rates in training.schedule, or a training.clip_norm"
    )


def _held_up(tally: Tally) -> Iterator[str]:
    """Who starts exchanges waits for them, and who only answers does not."""
    steps = tally.steps_by_learner
    most = max(steps, default=0)
    if most < AT_LEAST:
        return
    few = [
        (made, learner)
        for learner, made in enumerate(steps)
        if made < FEW * most and _exchanging(tally, learner) > HELD_UP
    ]
    if not few:
        return
    (least, learner), fewer = min(few), len(few)
    share = _exchanging(tally, learner)
    others = "" if fewer == 1 else f", and {fewer - 1} more made less than a quarter of these"
    yield (
        f"learner {learner} made {least} steps where learner {steps.index(most)} made {most}: it "
        f"waited for its exchanges {100 * share:.0f} % of the time{others}. With "
        "algorithm.overlap = 16 steps go on meanwhile; with a longer algorithm.period there are "
        "fewer exchanges"
    )


def _exchanging(tally: Tally, learner: int) -> float:
    spent_s = tally.seconds_by_activity(learner).get(Activity.EXCHANGE, 0.0)
    return min(1.0, spent_s / tally.last_s) if tally.last_s > 0 else 0.0
