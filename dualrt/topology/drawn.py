"""Drawn plans: another ring, or other pairs, in each round, the same in every process.

Owns the random order of a round, which follows from a seed and the round's number alone. Knows
nothing of graphs: any two learners may meet.
"""

from __future__ import annotations

from functools import lru_cache
from typing import final

import numpy as np

from dualrt.core.errors import TopologyError
from dualrt.topology.mixing import Mixing, Row


@final
class RandomRing(Mixing):
    """Each round a ring through all learners in a fresh random order, with shares of one third.

    The learner before and the learner after are drawn anew each round ("random mixing" of arXiv
    2110.11199); everybody initiates to the learner after it.

    Parameters
    ----------
    learners : int
        At least 3: fewer make no ring.
    seed : int
        In 0..2**64 - 1. Learners that share it draw the same rings.
    """

    period = None

    def __init__(self, learners: int, seed: int) -> None:
        if learners < 3:
            raise TopologyError(
                f"a random ring of {learners} learners: there is nothing to draw. Give at least 3"
            )
        self.learners = learners
        self.seed = require_seed(seed)

    def row(self, learner: int, round: int) -> Row:
        order, place = _shuffled(self.learners, self.seed, round)
        at = place[learner]
        before, after = order[at - 1], order[at + 1 - self.learners]
        if before < after:
            return ((before, 1 / 3), (after, 1 / 3))
        return ((after, 1 / 3), (before, 1 / 3))

    def initiates(self, learner: int, round: int) -> Row:
        order, place = _shuffled(self.learners, self.seed, round)
        return ((order[place[learner] + 1 - self.learners], 1 / 3),)

    def peers(self, learner: int) -> tuple[int, ...]:
        return _all_others(learner, self.learners)


@final
class RandomPairs(Mixing):
    """Each round a perfect matching, uniformly at random, with shares of one half.

    With an odd number of learners one of them, another each time, sits the round out. Which of a
    pair initiates is as random as the pair.

    Parameters
    ----------
    learners : int
        At least 1.
    seed : int
        In 0..2**64 - 1. Learners that share it draw the same pairs.
    """

    period = None

    def __init__(self, learners: int, seed: int) -> None:
        if learners < 1:
            raise TopologyError(f"random pairs of {learners} learners. Give at least 1")
        self.learners = learners
        self.seed = require_seed(seed)

    def row(self, learner: int, round: int) -> Row:
        order, place = _shuffled(self.learners, self.seed, round)
        beside = place[learner] ^ 1  # the pairs stand at places 0 and 1, 2 and 3, ...
        return ((order[beside], 0.5),) if beside < self.learners else ()

    def initiates(self, learner: int, round: int) -> Row:
        _, place = _shuffled(self.learners, self.seed, round)
        return self.row(learner, round) if place[learner] % 2 == 0 else ()

    def peers(self, learner: int) -> tuple[int, ...]:
        return _all_others(learner, self.learners)


def _all_others(learner: int, learners: int) -> tuple[int, ...]:
    return tuple(peer for peer in range(learners) if peer != learner)


def require_seed(seed: int) -> int:
    """The seed, if it is one. Raises `TopologyError` outside 0..2**64 - 1."""
    if not 0 <= seed < 2**64:
        raise TopologyError(f"seed = {seed} is not a 64-bit number. Give one in 0..2**64 - 1")
    return seed


# Asynchronous learners ask about different rounds at one time, the fast ones about later rounds
# than the slow; this many rounds cover the spread of a run, at about 60 kB each for 1,024 learners.
@lru_cache(maxsize=512)
def _shuffled(learners: int, seed: int, round: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The learners in the random order of a round, and the place of each in it.

    Sorts one raw 64-bit output of Philox, keyed by (seed, round), a learner. NumPy keeps the raw
    stream of a bit generator the same on every platform and release, which it does not promise for
    `Generator.permutation`; a counter-based key makes any round reachable without those before.
    """
    key = np.array([seed, round], dtype=np.uint64)
    draws = np.random.Philox(key=key).random_raw(learners)
    order = np.argsort(draws, kind="stable").tolist()
    place = [0] * learners
    for at, learner in enumerate(order):
        place[learner] = at
    return tuple(order), tuple(place)
