"""Schedule: who exchanges with whom in which round, so that ways can be compared.

Owns the order alone. In one round a learner is in one exchange at most, and wherever hosts have
equally many learners, as many exchanges share a network card in every round between hosts: a way
that is slower than others then is so by itself, and not because more of them met there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import zip_longest

Pair = tuple[int, int]


def rounds(hosts: Sequence[Sequence[int]]) -> Iterator[list[Pair]]:
    """Every two learners once, the lower rank first; `hosts` has the ranks of each host."""
    # Inside hosts, all of them at once.
    for together in zip_longest(*(list(_everyone(list(ranks))) for ranks in hosts), fillvalue=[]):
        yield [_ordered(pair) for pairs in together for pair in pairs]
    for meetings in _everyone(list(range(len(hosts)))):
        size = max(len(hosts[host]) for pair in meetings for host in pair)
        for shift in range(size):
            yield [
                _ordered((hosts[a][place], hosts[b][(place + shift) % size]))
                for a, b in meetings
                for place in range(len(hosts[a]))
                if (place + shift) % size < len(hosts[b])
            ]


def _everyone(members: list[int]) -> Iterator[list[Pair]]:
    """The circle method: one stays, the others move on by a place a round."""
    if len(members) < 2:
        return
    circle: list[int | None] = [*members, *([None] if len(members) % 2 else [])]
    for _ in range(len(circle) - 1):
        half = len(circle) // 2
        across = zip(circle[:half], reversed(circle[half:]), strict=True)
        yield [(a, b) for a, b in across if a is not None and b is not None]
        circle.insert(1, circle.pop())


def _ordered(pair: Pair) -> Pair:
    return min(pair), max(pair)
