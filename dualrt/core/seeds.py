"""Random streams: one for each (seed, name, name, ...), the same on every platform and Python.

Owns how a run's single seed becomes many independent streams. Nothing in dualrt draws from a
global generator, so adding a draw in one place never moves the draws of another.
"""

from __future__ import annotations

import random
from hashlib import blake2b


def derive(seed: int, *names: str | int) -> int:
    """A 63-bit seed for the stream called `names` (for generators of numpy and torch)."""
    text = "/".join(map(str, (seed, *names)))
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def stream(seed: int, *names: str | int) -> random.Random:
    """A generator of the standard library for the stream called `names`."""
    return random.Random(derive(seed, *names))
