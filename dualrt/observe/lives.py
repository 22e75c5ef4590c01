"""Lives: what is known of the processes of a real run that are not there at its end.

Owns the finding of their records and the adding up of what these say. Must not know how anybody
died. A process writes its records once a second, so of each life the last second is missing, with
the update that was under way (`dualrt.observe.recorder`).
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from dualrt.core.errors import UsageError
from dualrt.core.records import Span
from dualrt.observe.recorder import files_by_life, read_records
from dualrt.observe.tally import Tally


class Dead(NamedTuple):
    """The lives that have ended before the run, as far as they left records."""

    lives: dict[int, int]
    """How many of each learner's; of one that is not left, those that recorded anything."""
    tallies: dict[int, Tally]
    """What they did, by learner."""


def dead(directory: Path | None, living: Mapping[int, int], learners: int) -> Dead:
    """The dead of a run that recorded to `directory`, if it did.

    `living` has the incarnation of each learner that is left. A file that cannot be read says
    nothing.
    """
    lives = {rank: living.get(rank, 0) for rank in range(learners)}
    tallies = {rank: Tally(learners) for rank in range(learners)}
    for (rank, incarnation), file in files_by_life(directory).items() if directory else ():
        if incarnation >= living.get(rank, incarnation + 1):
            continue
        tally = tallies[rank]
        with suppress(UsageError):
            for record in read_records(file):
                lives[rank] = max(lives[rank], incarnation + 1)
                if isinstance(record, Span):
                    tally.span(record)
                else:
                    tally.update(*record)
    return Dead(lives, tallies)
