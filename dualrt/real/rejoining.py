"""Rejoining: how a learner that is started again gets weights before all else.

Owns where it takes them from, and what is said of it. Must not know what runs afterwards.
"""

from __future__ import annotations

from dualrt.core.learner import Learner
from dualrt.real.attempts import Keeping
from dualrt.real.events import Events
from dualrt.real.reports import OverError, is_over


async def rejoin(learner: Learner, keeping: Keeping | None, events: Events) -> None:
    """Be as far as the others, as a strand of it. Raises OverError if they have ended meanwhile."""
    taken_from = await _up_to_date(learner, keeping)
    if is_over():
        raise OverError(learner.rank)
    tell = events.info if taken_from else events.warning
    tell(
        "rejoined",
        f"learner {learner.rank} has rejoined the run at update {learner.updates}, with "
        + (taken_from or "weights as in the beginning: nobody has any, and nothing was kept"),
        updates=learner.updates,
        taken_from=taken_from,
    )


async def _up_to_date(learner: Learner, keeping: Keeping | None) -> str:
    """Get weights; says whose they are, or nothing if there were none."""
    if await learner.rejoin():
        return "another learner's weights"
    kept = None if keeping is None else keeping.last_resort(learner)
    return "" if kept is None else f"its own part of {kept}"
