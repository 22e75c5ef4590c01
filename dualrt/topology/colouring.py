"""Proper edge colouring: the edges of a graph, split into as few matchings as is practical.

Owns how simultaneous pairwise exchanges are scheduled: a colour is a round, and two edges of one
colour share no learner, so that everybody takes part in at most one exchange a round. Fewer
colours make a shorter period. Knows nothing of shares or of who initiates.
"""

from __future__ import annotations

from itertools import count

import networkx as nx
import numpy as np

Edge = tuple[int, int]


def matchings(graph: nx.Graph[int]) -> tuple[tuple[Edge, ...], ...]:
    """Split the edges into matchings, each sorted, with the lower learner of an edge first.

    Their number is the largest degree d on a bipartite graph (Kőnig, 1916), n - 1 or n on a
    complete graph of even or odd n (the days of a round-robin tournament, in random order), and at
    most d + 1 on any other (Vizing's theorem by the construction of Misra and Gries, Inf. Process.
    Lett. 41(3), 1992). The result depends on the graph only, not on the order in which it was
    built.

    Parameters
    ----------
    graph : undirected simple graph on nodes 0..n-1

    Examples
    --------
    An even ring alternates between right and left neighbours; an odd one needs a third round.

    >>> from dualrt.topology.graphs import ring
    >>> matchings(ring(4))
    (((0, 1), (2, 3)), ((0, 3), (1, 2)))
    >>> matchings(ring(5))
    (((0, 1), (3, 4)), ((0, 4), (2, 3)), ((1, 2),))
    """
    learners = graph.number_of_nodes()
    edges = sorted((min(edge), max(edge)) for edge in graph.edges)
    if 2 * len(edges) == learners * (learners - 1):
        place = _days_in_turn(learners)
        colours = [place[_tournament_day(edge, learners)] for edge in edges]
    else:
        painting = _Painting(learners)
        paint_next = painting.extend if nx.is_bipartite(graph) else painting.extend_by_fan
        for edge in edges:
            paint_next(*edge)
        colours = [painting.colour_of(*edge) for edge in edges]
    classes: dict[int, list[Edge]] = {colour: [] for colour in sorted(set(colours))}
    for edge, colour in zip(edges, colours, strict=True):
        classes[colour].append(edge)
    return tuple(tuple(matching) for matching in classes.values())


def _tournament_day(edge: Edge, learners: int) -> int:
    """The day on which two players meet when everybody meets everybody (the circle method)."""
    low, high = edge
    days = learners if learners % 2 else learners - 1
    # With an even number, the last player meets whoever would otherwise have the day off.
    return (low + high) % days if high < days else (2 * low) % days


def _days_in_turn(learners: int) -> list[int]:
    """The place of each day in an order drawn once and for all.

    Who meets whom on two days following is one step further round a ring for everybody, so in
    their own order 63 days would mix no faster than an alternating ring of 64.
    """
    # The raw stream of a bit generator is the same on every platform and release of NumPy.
    draws = np.random.Philox(key=np.array([learners, 0], dtype=np.uint64)).random_raw(learners)
    place = [0] * learners
    for at, day in enumerate(np.argsort(draws, kind="stable").tolist()):
        place[day] = at
    return place


class _Painting:
    """A proper colouring of some of the edges, which can be extended by one edge at a time."""

    def __init__(self, learners: int) -> None:
        self._neighbour: list[dict[int, int]] = [{} for _ in range(learners)]  # by colour
        self._colour: list[dict[int, int]] = [{} for _ in range(learners)]  # by neighbour

    def colour_of(self, one: int, other: int) -> int:
        return self._colour[one][other]

    def extend(self, one: int, other: int) -> None:
        """Colour an edge of a bipartite graph; never needs more colours than the largest degree."""
        colour, free_at_other = self._free(one), self._free(other)
        # The path leaves `other` by `colour`, so it would enter the class of `one` by `colour`
        # each time, and `one` has no such edge: the swap leaves `colour` free at both ends.
        self._swap_along_path(other, colour, free_at_other)
        self._paint(one, other, colour)

    def extend_by_fan(self, hub: int, other: int) -> None:
        """Colour an edge of any graph with at most one colour more than the largest degree."""
        fan = self._fan(hub, other)
        colour = self._free(fan[-1])
        self._swap_along_path(hub, colour, self._free(hub))
        # `colour` is now free at the hub. Where it is free at the first blade too, each blade
        # before it can take the next one's colour, and it can have this one.
        last = next(at for at, blade in enumerate(fan) if colour not in self._neighbour[blade])
        shifted = [self._wipe(hub, blade) for blade in fan[1 : last + 1]]
        for blade, next_colour in zip(fan, [*shifted, colour], strict=False):
            self._paint(hub, blade, next_colour)

    def _fan(self, hub: int, first: int) -> list[int]:
        """A longest list of the hub's neighbours, from `first`, whose colours can be shifted.

        The colour of each blade's edge to the hub is free at the blade before it.
        """
        fan, waiting = [first], sorted(self._colour[hub])
        while True:
            used = self._neighbour[fan[-1]]
            blade = next((each for each in waiting if self._colour[hub][each] not in used), None)
            if blade is None:
                return fan
            waiting.remove(blade)
            fan.append(blade)

    def _free(self, learner: int) -> int:
        """The lowest colour that no edge of the learner has."""
        return next(colour for colour in count() if colour not in self._neighbour[learner])

    def _swap_along_path(self, start: int, first: int, second: int) -> None:
        """Exchange two colours along the path from `start` that begins with `first`.

        `second` must be free at `start`, or the path would run through it.
        """
        path, at, ahead, behind = [], start, first, second
        while ahead in self._neighbour[at]:
            onward = self._neighbour[at][ahead]
            path.append((at, onward, behind))
            at, ahead, behind = onward, behind, ahead
        for one, other, _ in path:
            self._wipe(one, other)
        for one, other, colour in path:
            self._paint(one, other, colour)

    def _paint(self, one: int, other: int, colour: int) -> None:
        self._neighbour[one][colour], self._neighbour[other][colour] = other, one
        self._colour[one][other] = self._colour[other][one] = colour

    def _wipe(self, one: int, other: int) -> int:
        """Take the colour off an edge, and return it."""
        colour = self._colour[one].pop(other)
        del self._colour[other][one], self._neighbour[one][colour], self._neighbour[other][colour]
        return colour
