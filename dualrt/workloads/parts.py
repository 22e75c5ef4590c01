"""Parts of a vector: how many entries an exchange averages where few are sent.

Owns the two counts, which both ends and the phantom must agree on. Must not import torch.
"""

from __future__ import annotations

import math


def entries(size: int, fraction: float) -> int:
    """Entries of an offer of so large a part of `size` entries, at least one.

    Examples
    --------
    >>> entries(1000, 0.01), entries(10, 0.01), entries(3, 1.0)
    (10, 1, 3)
    """
    return min(size, max(1, math.ceil(size * fraction)))


def wanted(offered: int) -> int:
    """Entries that an answer to so many asks to be offered next.

    Half of them: the other half are left to the choice of who makes the offer.
    """
    return offered // 2
