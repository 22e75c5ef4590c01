"""The network: bytes that flow over shared links as a fluid, in virtual time.

Owns when flows begin, change and end. Must not know what a message, a learner or a cluster is: a
route is a sequence of links, an end is a callback.

Theory of operation. A flow waits out its latency and then moves at its weighted max-min fair rate
(`filling`). Between two changes every rate is constant, so an end is known exactly and nothing is
integrated step by step.

A flow may also run in *lockstep* over many links, some of which it crosses several times: the edges
of a collective, which all move at one pace. It takes its rate from a link once for each crossing,
and its weight counts there as often.

Five things keep a change cheap:

- A flow that nobody contests takes its place on its links when it is asked for, before its latency
  has passed, and one call at its end is all that it puts in the environment's queue. If one of its
  links becomes contested meanwhile, it goes the way of the others: it leaves its places and comes
  back when its latency is over, or runs on at the rates that follow.
- Only the flows and links that a change reaches through shared links (a connected component) are
  looked at.
- The changes of one instant are gathered and settled together, once everything else of that
  instant has happened. No time passes in between, so nothing is lost.
- For flows whose rates have changed one timer is armed, for the earliest of their ends. A flow
  whose rate changes gets a new stamp, and its old entry in the heap of ends is dropped when it
  comes up. A call that is no longer wanted stays in the environment's queue and does nothing when
  its time comes; so the clock of an environment that is run until nothing is left may stand later
  than the last event that meant something.
- Only contested links connect flows (`flows`), and most links are wider than the few connections
  that cross them. So most changes need no filling.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from heapq import heapify, heappop, heappush
from typing import NamedTuple, TypeAlias

from dualrt.core.errors import UsageError
from dualrt.sim.clock import Clock
from dualrt.sim.filling import fill
from dualrt.sim.flows import Crossings, Flow, Link

_CLOCK_SLACK = 4
"""Ends closer than this many units in the last place of the clock are one instant: `now + delay`
rounds, so the same end reached by two sums may differ in the last bits."""

_COMPACT_ABOVE = 64
"""Smallest heap of ends that is worth clearing of stale entries."""


class Way(NamedTuple):
    """A route, and what it adds up to."""

    crossings: Crossings
    latency_s: float
    capacity_bytes_per_s: float


_End: TypeAlias = tuple[float, int, int, Flow]
"""End in seconds, the flow's order, the stamp that must still be the flow's, the flow."""


class Network:
    """Flows over links, in the virtual time of `env`.

    States of a flow: under latency (only a call of `env` knows it), on its links (which know it,
    and from when on it moves), done. Callbacks of flows that end at the same instant come in the
    order of their `transfer`, if nobody contested their links or for all of them somebody did.
    """

    def __init__(self, env: Clock) -> None:
        self._env = env
        self._transfers = 0
        self._ends: list[_End] = []
        self._most_ends = _COMPACT_ABOVE
        self._timer = 0
        """How often it was armed: only the last time counts."""
        self._armed_s = math.inf
        self._touched: list[Link] = []
        self._ways: dict[tuple[Link, ...], Way] = {}
        self._settling = False
        self._mark = 0

    @property
    def now_s(self) -> float:
        """Virtual time."""
        return self._env.now

    def transfer(
        self,
        route: Sequence[Link],
        size_bytes: int,
        on_done: Callable[[], None],
        *,
        cap_bytes_per_s: float = math.inf,
        weight: float = 1.0,
        overhead_s: float = 0.0,
    ) -> None:
        """Move `size_bytes` over `route` and call `on_done` at the instant that the last arrives.

        `overhead_s` and the latencies of the route pass first, once; then the bytes flow at the
        weighted max-min fair rate, at most `cap_bytes_per_s`. Without bytes only the latency
        passes. An empty route adds nothing to `overhead_s`, whatever the size. In every case
        `on_done` is called from an event of the environment, never from within `transfer`.

        Raises `UsageError` for a negative size or overhead, for a weight or cap that is not
        positive, and for a route that crosses a link twice.
        """
        if size_bytes < 0 or overhead_s < 0 or not cap_bytes_per_s > 0 or not weight > 0:
            raise UsageError(
                f"transfer of {size_bytes} bytes with overhead {overhead_s} s, cap "
                f"{cap_bytes_per_s} bytes/s and weight {weight}: size and overhead must not be "
                f"negative, cap and weight must be positive"
            )
        self.carry(self.way(route), size_bytes, on_done, cap_bytes_per_s, overhead_s, weight)

    def way(self, route: Sequence[Link]) -> Way:
        """A route to be taken again and again: by `carry`.

        Raises `UsageError` if it crosses a link twice.
        """
        return self._ways.get(route := tuple(route)) or self._add_up(route)

    def carry(
        self,
        way: Way,
        size_bytes: int,
        on_done: Callable[[], None],
        cap_bytes_per_s: float,
        overhead_s: float = 0.0,
        weight: float = 1.0,
    ) -> None:
        """As `transfer`, for who knows the way and has checked the figures."""
        crossings, latency_s, capacity_bytes_per_s = way
        start_s = self._env.now + (overhead_s + latency_s)
        self._transfers += 1
        if not size_bytes or not crossings:
            self._env.at(start_s, _call, on_done)
            return
        cap = cap_bytes_per_s
        demand = cap if cap < capacity_bytes_per_s else capacity_bytes_per_s
        self._begin(
            Flow(
                self._transfers,
                crossings,
                size_bytes,
                on_done,
                cap,
                weight,
                demand,
                size_bytes,
                start_s,
            )
        )

    def lockstep(
        self,
        crossings: Crossings,
        edge_bytes: float,
        on_done: Callable[[], None],
        *,
        latency_s: float,
        cap_bytes_per_s: float,
    ) -> None:
        """Move `edge_bytes` over each of the `crossings`, all at one rate, and call `on_done`.

        A link may be crossed several times, and is there once (`counted`). `latency_s` passes
        first, instead of the links' own; then the bytes of every crossing flow at one rate, at most
        `cap_bytes_per_s`, which is the weighted max-min fair one for a weight of 1 a crossing.
        Without bytes or crossings only the latency passes.

        Raises `UsageError` for negative bytes or latency, and for a cap that is not positive and
        finite.
        """
        if edge_bytes < 0 or latency_s < 0 or not 0 < cap_bytes_per_s < math.inf:
            raise UsageError(
                f"lockstep of {edge_bytes} bytes with latency {latency_s} s and cap "
                f"{cap_bytes_per_s} bytes/s: bytes and latency must not be negative, the cap must "
                f"be positive and finite"
            )
        self._transfers += 1
        start_s = self._env.now + latency_s
        if not edge_bytes or not crossings:
            self._env.at(start_s, _call, on_done)
            return
        cap, order = cap_bytes_per_s, self._transfers
        self._begin(Flow(order, crossings, edge_bytes, on_done, cap, 1.0, cap, edge_bytes, start_s))

    def throttle(self, link: Link, factor: float) -> None:
        """Let `link` run at `factor` of its capacity from now on; 0 cuts it and 1 heals it.

        Flows on a cut link stand still, and go on when it heals. Raises `UsageError` for a factor
        outside 0 to 1.
        """
        if not 0 <= factor <= 1:
            raise UsageError(
                f"link {link.name}: factor {factor!r} is outside 0 (cut) to 1 (whole). "
                f"Give the part of the capacity that is left"
            )
        link.leave(factor * link.capacity_bytes_per_s)
        self._hold_back(link)
        link.reassess()
        if link.flows:
            self._touched.append(link)
            self._settle_later()

    def charge(self, link: Link, size_bytes: float) -> None:
        """Count bytes that crossed `link` without being a flow: those of a closed-form cost."""
        link.carried_bytes += size_bytes

    def carried_bytes(self, link: Link) -> float:
        """Bytes that have crossed `link`: all charged and done, and what flows moved until now."""
        now_s = self._env.now
        # One whose latency is still to pass is settled at the instant when it will have passed.
        under_way = (
            (flow.size - flow.remaining + flow.rate * max(0.0, now_s - flow.settled_s))
            * dict(flow.crossings)[link]
            for flow in link.flows
        )
        return link.carried_bytes + math.fsum(under_way)

    def utilisation(self, link: Link, elapsed_s: float) -> float:
        """Part of what `link` could have carried in `elapsed_s`, unthrottled, that it did carry."""
        if elapsed_s <= 0:
            return 0.0
        return self.carried_bytes(link) / (link.capacity_bytes_per_s * elapsed_s)

    def _add_up(self, route: tuple[Link, ...]) -> Way:
        if len(set(route)) < len(route):
            raise UsageError(
                f"route {[link.name for link in route]} crosses a link twice. Give every "
                f"crossing a link of its own"
            )
        way = self._ways[route] = Way(
            tuple((link, 1) for link in route),
            sum(link.latency_s for link in route),
            min((link.capacity_bytes_per_s for link in route), default=math.inf),
        )
        return way

    def _begin(self, flow: Flow) -> None:
        """Let a flow take its places now if nobody contests them, and else after its latency."""
        start_s = flow.settled_s
        contested = self._enter(flow)
        if contested is None:
            flow.due_s = due_s = start_s + flow.size / flow.rate
            self._env.at(due_s, self._end, flow)
        elif start_s > self._env.now:
            _withdraw(flow)
            self._env.at(start_s, self._arrive, flow)
        else:
            self._contest(flow, contested)
            self._settle_later()

    def _arrive(self, flow: Flow) -> None:
        """The latency of a flow has passed that could not take its places before."""
        contested = self._enter(flow)
        if contested is None:
            flow.due_s = due_s = flow.settled_s + flow.size / flow.rate
            self._env.at(due_s, self._end, flow)
        else:
            self._contest(flow, contested)
            self._settle_soon()

    def _enter(self, flow: Flow) -> Link | None:
        """Put a flow on its links. Returns one that is contested now, or None; then it has a rate.

        What is contested is for `_contest` to find out.
        """
        rate, demand = flow.cap, flow.demand
        contested: Link | None = None
        for link, times in flow.crossings:
            flows = link.flows
            flows[flow] = None
            link.demand = asked = link.demand + times * demand
            if asked >= link.full[len(flows) > 1]:
                contested = link
            elif link.available_bytes_per_s < rate:
                rate = link.available_bytes_per_s
        if contested is None:
            flow.rate = rate
        return contested

    def _contest(self, flow: Flow, contested: Link) -> None:
        """Let a flow that has just entered its links contest those that it overruns."""
        for link, _ in flow.crossings:
            link.reassess()
            if link.contested:
                self._hold_back(link)
        self._touched.append(contested)

    def _hold_back(self, link: Link) -> None:
        """Let flows whose latency is not over come back after it: rates on a link may change."""
        now_s = self._env.now
        early = [flow for flow in link.flows if flow.settled_s > now_s]
        for flow in early:
            _withdraw(flow)
            flow.due_s = math.nan
            flow.rate = 0.0
            self._env.at(flow.settled_s, self._arrive, flow)
        if early:
            link.reassess()

    def _end(self, flow: Flow) -> None:
        """A flow is through whose rate has never changed."""
        if flow.due_s != self._env.now:
            return
        self._retire(flow)
        flow.on_done()
        if self._touched:
            self._settle_soon()

    def _settle_soon(self) -> None:
        """End an event of our own: settle now if it is the last of its instant."""
        if not self._touched:
            return
        if self._env.peek() > self._env.now:
            self._settle(None)
        else:
            self._settle_later()

    def _settle_later(self) -> None:
        """Settle at the end of this instant: whoever called may have more to change in it."""
        if self._touched and not self._settling:
            self._settling = True
            self._env.at_last(self._settle, None)

    def _settle(self, _: None) -> None:
        """Give every flow that this instant's changes reach its new rate."""
        self._settling = False
        self._mark += 1
        touched, self._touched = self._touched, []
        for link in touched:
            if link.mark != self._mark and link.flows:
                self._apply(fill(link, self._mark))
        if len(self._ends) > self._most_ends:
            self._ends = [end for end in self._ends if end[2] == end[3].stamp]
            self._most_ends = _COMPACT_ABOVE + 4 * len(self._ends)
            heapify(self._ends)
        self._arm()

    def _apply(self, flows: Sequence[Flow]) -> None:
        """Account for what moved at the old rates, and let the flows run on at their new shares."""
        now_s = self._env.now
        for flow in flows:
            share = flow.share
            if share == flow.rate:
                continue
            remaining = flow.remaining - flow.rate * (now_s - flow.settled_s)
            flow.remaining = remaining if remaining > 0 else 0.0
            flow.settled_s = now_s
            flow.rate = share
            flow.due_s = math.nan
            flow.stamp += 1
            if share > 0:
                end_s = now_s + flow.remaining / share
                heappush(self._ends, (end_s, flow.order, flow.stamp, flow))

    def _arm(self) -> None:
        """Make sure that a timer goes off at the earliest end."""
        ends = self._ends
        while ends:
            end_s, _, stamp, flow = ends[0]
            if stamp == flow.stamp:
                break
            heappop(ends)
        else:
            return
        if end_s < self._armed_s:
            self._armed_s = end_s
            self._timer += 1
            self._env.at(max(end_s, self._env.now), self._ring, self._timer)

    def _ring(self, timer: int) -> None:
        """End the flows whose time has come."""
        if timer != self._timer:
            return
        now_s = self._env.now
        horizon_s = now_s + _CLOCK_SLACK * math.ulp(now_s)
        ends = self._ends
        done: list[Flow] = []
        while ends and ends[0][0] <= horizon_s:
            _, _, stamp, flow = heappop(ends)
            if stamp == flow.stamp:
                done.append(flow)
        if len(done) > 1:
            done.sort(key=lambda flow: flow.order)
        # Nothing arms a timer below minus infinity: it is armed once, when all callbacks are done.
        self._armed_s = -math.inf
        for flow in done:
            self._retire(flow)
        for flow in done:
            flow.on_done()
        self._armed_s = math.inf
        if self._touched:
            self._settle_soon()
        else:
            self._arm()

    def _retire(self, flow: Flow) -> None:
        """Take a flow that is through off its links."""
        flow.stamp += 1
        flow.due_s = math.nan
        size, demand = flow.size, flow.demand
        for link, times in flow.crossings:
            flows = link.flows
            del flows[flow]
            link.carried_bytes += times * size
            if flows:
                link.demand -= times * demand
                if link.contested:
                    self._touched.append(link)
                    link.reassess()
            else:
                link.demand = 0.0
                link.contested = False


def _withdraw(flow: Flow) -> None:
    """Take a flow whose latency is not over off its links."""
    for link, times in flow.crossings:
        flows = link.flows
        del flows[flow]
        link.demand = link.demand - times * flow.demand if flows else 0.0


def _call(on_done: Callable[[], None]) -> None:
    on_done()
