"""Chorus: the times of learners in unison, as numpy takes them.

Owns the one step from rows to columns. Must not know what is made of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dualrt.core.records import Times


def columns(rows: Sequence[Times]) -> NDArray[np.float64]:
    """An array with a line for each learner, of its times in their order.

    Joined as bytes: `np.array` takes eight times as long for a list of small arrays.
    """
    return np.frombuffer(b"".join(rows)).reshape(len(rows), -1).T
