"""The pool of samples that all learners draw from.

Owns which samples make up which mini-batch. Must not know what a sample is.

The pool is one endless sequence: the data set in a random order, then in another, and so on, cut
into mini-batches; what is left of a pass that does not fill a batch is dropped. Learner i's draw k
is batch number k * learners + i of it. So no two draws share a batch, learners need not talk to
agree on it, and any process can say what any other one draws: a fast learner simply draws more
often (1904.04956, sec. 3). Synchronous learners together draw each pass exactly once.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from dualrt.core.errors import UsageError
from dualrt.core.seeds import derive

_PASSES_KEPT = 4


class Pool:
    """Mini-batches of `batch` out of `size` samples for `learners` learners, in an order that
    depends on `seed` alone.

    Raises:
        UsageError: a batch would be empty, or larger than the pool.
    """

    def __init__(self, size: int, batch: int, learners: int, seed: int) -> None:
        if not 1 <= batch <= size:
            raise UsageError(
                f"batch = {batch}: a mini-batch is drawn from a pool of {size} samples without "
                f"replacement. Choose a batch from 1 to {size}."
            )
        self._size, self._batch, self._learners, self._seed = size, batch, learners, seed
        self._batches_per_pass = size // batch
        # Learners of different speed are in different passes: keep those that they are in.
        self._order = lru_cache(maxsize=_PASSES_KEPT)(self._shuffled)

    @property
    def samples_per_pass(self) -> int:
        """Samples that one pass hands out: the pool without what would not fill a batch."""
        return self._batches_per_pass * self._batch

    def indices(self, rank: int, draw: int) -> NDArray[np.int64]:
        """The samples of learner `rank`'s mini-batch number `draw`, both from 0; shape [batch]."""
        number = draw * self._learners + rank
        pass_, place = divmod(number, self._batches_per_pass)
        start = place * self._batch
        return self._order(pass_)[start : start + self._batch].copy()

    def _shuffled(self, pass_: int) -> NDArray[np.int64]:
        # Counter-based: any pass at once, without the passes before it.
        key = derive(self._seed, "pool", pass_)
        return np.random.Generator(np.random.Philox(key=key)).permutation(self._size)
