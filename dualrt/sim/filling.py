"""Filling: which rate each flow gets.

Owns weighted max-min fairness over one connected component. Must not know time, nor who moves.

No flow can go faster without slowing one that, for its weight, is no faster (Bertsekas and
Gallager, Data Networks, 2nd ed., sec. 6.5.2). Progressive filling finds the rates: raise one common
level, rate = level * weight, until a link is full or a flow meets its own cap; fix the flows that
this stops; go on with the others.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from heapq import heapify, heappop, heapreplace

from dualrt.sim.flows import Flow, Link


def fill(seed: Link, mark: int) -> Sequence[Flow]:
    """The flows that share links with `seed`, however indirectly, each with its fair `share`.

    `mark` is one that no link or flow has had in an earlier filling.
    """
    flows, contested = _component(seed, mark)
    if not contested:
        for flow in flows:
            flow.share = flow.ceiling
        return flows
    if contested == [seed]:
        _fill_one(seed, flows)
        return flows
    # What may stop the rising level: a contested link when it is full, a flow at its ceiling. The
    # number breaks ties, so that links and flows are never compared.
    stops: list[tuple[float, int, Link | None, Flow | None]] = [
        (link.free / link.load, number, link, None) for number, link in enumerate(contested)
    ]
    stops += [
        (flow.ceiling / flow.weight, number, None, flow)
        for number, flow in enumerate(flows, len(stops))
        if flow.ceiling < math.inf
    ]
    heapify(stops)
    unfixed = len(flows)
    while unfixed:
        level, number, link, capped = stops[0]
        if capped is not None:
            heappop(stops)
            if capped.share < 0:
                _fix(capped, capped.ceiling)
                unfixed -= 1
            continue
        assert link is not None
        if not link.open:
            heappop(stops)
            continue
        # Fixing others below its own level leaves a link more for the rest: its level only rises.
        risen = link.free / link.load
        if risen > level:
            heapreplace(stops, (risen, number, link, None))
            continue
        heappop(stops)
        for flow in link.flows:
            if flow.share < 0:
                _fix(flow, max(risen, 0.0) * flow.weight)
                unfixed -= 1
    return flows


def _fill_one(link: Link, flows: list[Flow]) -> None:
    """Fill a component whose flows all meet on its one link, as nearly always: in one pass.

    Flows whose ceilings are low leave what they do not take to the others; from the first that
    could take its part, all do.
    """
    flows.sort(key=lambda flow: flow.ceiling / flow.weight)
    for place, flow in enumerate(flows):
        level = max(link.free / link.load, 0.0)
        if flow.ceiling > level * flow.weight:
            for other in flows[place:]:
                other.share = level * other.weight
            return
        _fix(flow, flow.ceiling)


def _component(seed: Link, mark: int) -> tuple[list[Flow], list[Link]]:
    """All flows that contested links connect with `seed`, and these links.

    `seed` itself may be contested no longer. Then its flows are all there, though nothing connects
    them: to fill several components together gives each what it would get alone.
    """
    flows: list[Flow] = []
    seed.mark = mark
    seed.free, seed.load, seed.open = seed.available_bytes_per_s, 0.0, 0
    reached = [seed]
    for source in reached:  # grows while it is walked
        for flow in source.flows:
            if flow.mark == mark:
                continue
            flow.mark = mark
            flow.share = -1.0
            flows.append(flow)
            weight = flow.weight
            ceiling = flow.cap
            for link, times in flow.crossings:
                if not link.contested:
                    ceiling = min(ceiling, link.available_bytes_per_s)
                elif link.mark == mark:
                    link.load += times * weight
                    link.open += 1
                else:
                    link.mark = mark
                    link.free, link.open = link.available_bytes_per_s, 1
                    link.load = times * weight
                    reached.append(link)
            flow.ceiling = ceiling
    return flows, reached if seed.contested else reached[1:]


def _fix(flow: Flow, rate: float) -> None:
    """Settle on a share, and take it from what the flow's links have left for others."""
    flow.share = rate
    for link, times in flow.crossings:
        link.free -= times * rate
        link.load -= times * flow.weight
        link.open -= 1
