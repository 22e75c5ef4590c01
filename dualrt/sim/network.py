"""The network: bytes that flow over shared links as a fluid, in virtual time.

Owns links, flows, who gets which rate, and the bytes that each link has carried. Must not know
what a message, a learner or a cluster is: a route is a sequence of links, an end is a callback.

Theory of operation. A flow waits out its latency and then moves at its *weighted max-min fair*
rate: no flow can go faster without slowing one that, for its weight, is no faster (Bertsekas and
Gallager, Data Networks, 2nd ed., sec. 6.5.2). Progressive filling finds the rates: raise one common
level, rate = level * weight, until a link is full or a flow meets its own cap; fix the flows that
this stops; go on with the others. Between two changes every rate is constant, so an end is known
exactly and nothing is integrated step by step.

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
- A link is *contested* only if its flows could together ask for more than it has, each going as
  fast as its own cap and its route allow. Any other link connects nothing: it slows no flow, or
  bounds its only one as a cap does. Most links of a cluster are wider than the few connections
  that cross them, so most changes need no filling (AD-PSGD on 64 learners: none, and 2.8 a step
  if every shared link were taken for contested).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from heapq import heapify, heappop, heappush, heapreplace
from typing import NamedTuple, TypeAlias

import msgspec

from dualrt.core.errors import UsageError
from dualrt.sim.clock import Clock

_CLOCK_SLACK = 4
"""Ends closer than this many units in the last place of the clock are one instant: `now + delay`
rounds, so the same end reached by two sums may differ in the last bits."""

_CONTESTED_FROM = 1 - 1e-9
"""Part of a link from which on its flows contest it. Below 1, because demands are added and taken
away in floating point, and a link that is taken for contested by mistake costs time and no more."""

_OVERRUN_FROM = 1 + 1e-9
"""Part of a link from which on a flow contests it alone: by crossing it often, or because it is
throttled."""

_COMPACT_ABOVE = 64
"""Smallest heap of ends that is worth clearing of stale entries."""


class Link:
    """One direction of something that bytes cross, shared by all flows that cross it.

    Parameters: `capacity_bytes_per_s` is finite and positive, `latency_s` finite and not negative.
    A link belongs to the one `Network` that its flows are given to.

    Raises `UsageError` for other values.
    """

    __slots__ = (
        "_carried_bytes",
        "_contested",
        "_demand",
        "_flows",
        "_free",
        "_full",
        "_load",
        "_mark",
        "_open",
        "available_bytes_per_s",
        "capacity_bytes_per_s",
        "latency_s",
        "name",
    )

    def __init__(self, name: str, capacity_bytes_per_s: float, latency_s: float) -> None:
        if not 0 < capacity_bytes_per_s < math.inf:
            raise UsageError(
                f"link {name}: capacity {capacity_bytes_per_s!r} bytes/s is not positive and "
                f"finite. Leave out a link that limits nothing"
            )
        if not 0 <= latency_s < math.inf:
            raise UsageError(
                f"link {name}: latency {latency_s!r} s is not a finite number from 0. "
                f"Give seconds: 1 us is 1e-6"
            )
        self.name = name
        self.capacity_bytes_per_s = capacity_bytes_per_s
        self.latency_s = latency_s
        self.available_bytes_per_s = capacity_bytes_per_s
        """What is left of the capacity while the link is throttled; see `Network.throttle`."""
        self._full = _full(capacity_bytes_per_s)
        self._carried_bytes = 0.0
        self._flows: dict[_Flow, None] = {}
        """A set in order of arrival. On a contested link, flows whose latency is over."""
        self._demand = 0.0
        self._contested = False
        # Scratch of one filling, valid where `_mark` is that filling's.
        self._mark = 0
        self._free = 0.0
        self._load = 0.0
        self._open = 0

    def __repr__(self) -> str:
        return f"Link({self.name!r}, {self.capacity_bytes_per_s:g} B/s, {self.latency_s:g} s)"

    def _reassess(self) -> None:
        """Say anew whether its flows contest it: after each change of these or of the capacity."""
        flows = len(self._flows)
        self._contested = flows > 0 and self._demand >= self._full[flows > 1]


def _full(bytes_per_s: float) -> tuple[float, float]:
    """The demands from which on one flow contests a link of so much, and several do."""
    return _OVERRUN_FROM * bytes_per_s, _CONTESTED_FROM * bytes_per_s


Crossings: TypeAlias = "tuple[tuple[Link, int], ...]"
"""The links of a flow, and how many times it crosses each."""


def counted(links: Iterable[Link]) -> Crossings:
    """Each link once, with how many times it is there."""
    return tuple(Counter(links).items())


class _Flow(msgspec.Struct, eq=False, gc=False):
    """Bytes under way: `remaining` as of `settled_s`, leaving at `rate` since.

    `settled_s` is in the future while the latency of a flow that nobody contests passes. `due_s` is
    when such a flow ends, and NaN for all others, whose ends are in the heap.
    """

    order: int
    crossings: Crossings
    size: float
    on_done: Callable[[], None]
    cap: float
    weight: float
    demand: float
    """The most that it could ever ask of a link."""
    remaining: float
    settled_s: float
    rate: float = 0.0
    due_s: float = math.nan
    stamp: int = 0
    mark: int = 0
    ceiling: float = 0.0
    share: float = 0.0
    """Scratch of one filling, as `mark`: valid where that is the filling's."""


class Way(NamedTuple):
    """A route, and what it adds up to."""

    crossings: Crossings
    latency_s: float
    capacity_bytes_per_s: float


_End: TypeAlias = tuple[float, int, int, _Flow]
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
            _Flow(
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
        self._begin(
            _Flow(order, crossings, edge_bytes, on_done, cap, 1.0, cap, edge_bytes, start_s)
        )

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
        link.available_bytes_per_s = factor * link.capacity_bytes_per_s
        link._full = _full(link.available_bytes_per_s)
        self._hold_back(link)
        link._reassess()
        if link._flows:
            self._touched.append(link)
            self._settle_later()

    def charge(self, link: Link, size_bytes: float) -> None:
        """Count bytes that crossed `link` without being a flow: those of a closed-form cost."""
        link._carried_bytes += size_bytes

    def carried_bytes(self, link: Link) -> float:
        """Bytes that have crossed `link`: all charged and done, and what flows moved until now."""
        now_s = self._env.now
        under_way = (
            (flow.size - flow.remaining + flow.rate * (now_s - flow.settled_s))
            * dict(flow.crossings)[link]
            for flow in link._flows
            if flow.settled_s < now_s
        )
        return link._carried_bytes + math.fsum(under_way)

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

    def _begin(self, flow: _Flow) -> None:
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

    def _arrive(self, flow: _Flow) -> None:
        """The latency of a flow has passed that could not take its places before."""
        contested = self._enter(flow)
        if contested is None:
            flow.due_s = due_s = flow.settled_s + flow.size / flow.rate
            self._env.at(due_s, self._end, flow)
        else:
            self._contest(flow, contested)
            self._settle_soon()

    def _enter(self, flow: _Flow) -> Link | None:
        """Put a flow on its links. Returns one that is contested now, or None; then it has a rate.

        What is contested is for `_contest` to find out.
        """
        rate, demand = flow.cap, flow.demand
        contested: Link | None = None
        for link, times in flow.crossings:
            flows = link._flows
            flows[flow] = None
            link._demand = asked = link._demand + times * demand
            if asked >= link._full[len(flows) > 1]:
                contested = link
            elif link.available_bytes_per_s < rate:
                rate = link.available_bytes_per_s
        if contested is None:
            flow.rate = rate
        return contested

    def _contest(self, flow: _Flow, contested: Link) -> None:
        """Let a flow that has just entered its links contest those that it overruns."""
        for link, _ in flow.crossings:
            link._reassess()
            if link._contested:
                self._hold_back(link)
        self._touched.append(contested)

    def _hold_back(self, link: Link) -> None:
        """Let flows whose latency is not over come back after it: rates on a link may change."""
        now_s = self._env.now
        early = [flow for flow in link._flows if flow.settled_s > now_s]
        for flow in early:
            _withdraw(flow)
            flow.due_s = math.nan
            flow.rate = 0.0
            self._env.at(flow.settled_s, self._arrive, flow)
        if early:
            link._reassess()

    def _end(self, flow: _Flow) -> None:
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
            if link._mark != self._mark and link._flows:
                self._apply(_fill(link, self._mark))
        if len(self._ends) > self._most_ends:
            self._ends = [end for end in self._ends if end[2] == end[3].stamp]
            self._most_ends = _COMPACT_ABOVE + 4 * len(self._ends)
            heapify(self._ends)
        self._arm()

    def _apply(self, flows: Sequence[_Flow]) -> None:
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
        done: list[_Flow] = []
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

    def _retire(self, flow: _Flow) -> None:
        """Take a flow that is through off its links."""
        flow.stamp += 1
        flow.due_s = math.nan
        size, demand = flow.size, flow.demand
        for link, times in flow.crossings:
            flows = link._flows
            del flows[flow]
            link._carried_bytes += times * size
            if flows:
                link._demand -= times * demand
                if link._contested:
                    self._touched.append(link)
                    link._reassess()
            else:
                link._demand = 0.0
                link._contested = False


def _withdraw(flow: _Flow) -> None:
    """Take a flow whose latency is not over off its links."""
    for link, times in flow.crossings:
        flows = link._flows
        del flows[flow]
        link._demand = link._demand - times * flow.demand if flows else 0.0


def _call(on_done: Callable[[], None]) -> None:
    on_done()


def _fill(seed: Link, mark: int) -> Sequence[_Flow]:
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
    stops: list[tuple[float, int, Link | None, _Flow | None]] = [
        (link._free / link._load, number, link, None) for number, link in enumerate(contested)
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
        if not link._open:
            heappop(stops)
            continue
        # Fixing others below its own level leaves a link more for the rest: its level only rises.
        risen = link._free / link._load
        if risen > level:
            heapreplace(stops, (risen, number, link, None))
            continue
        heappop(stops)
        for flow in link._flows:
            if flow.share < 0:
                _fix(flow, max(risen, 0.0) * flow.weight)
                unfixed -= 1
    return flows


def _fill_one(link: Link, flows: list[_Flow]) -> None:
    """Fill a component whose flows all meet on its one link, as nearly always: in one pass.

    Flows whose ceilings are low leave what they do not take to the others; from the first that
    could take its part, all do.
    """
    flows.sort(key=lambda flow: flow.ceiling / flow.weight)
    for place, flow in enumerate(flows):
        level = max(link._free / link._load, 0.0)
        if flow.ceiling > level * flow.weight:
            for other in flows[place:]:
                other.share = level * other.weight
            return
        _fix(flow, flow.ceiling)


def _component(seed: Link, mark: int) -> tuple[list[_Flow], list[Link]]:
    """All flows that contested links connect with `seed`, and these links.

    `seed` itself may be contested no longer. Then its flows are all there, though nothing connects
    them: to fill several components together gives each what it would get alone.
    """
    flows: list[_Flow] = []
    seed._mark = mark
    seed._free, seed._load, seed._open = seed.available_bytes_per_s, 0.0, 0
    reached = [seed]
    for source in reached:  # grows while it is walked
        for flow in source._flows:
            if flow.mark == mark:
                continue
            flow.mark = mark
            flow.share = -1.0
            flows.append(flow)
            weight = flow.weight
            ceiling = flow.cap
            for link, times in flow.crossings:
                if not link._contested:
                    ceiling = min(ceiling, link.available_bytes_per_s)
                elif link._mark == mark:
                    link._load += times * weight
                    link._open += 1
                else:
                    link._mark = mark
                    link._free, link._open = link.available_bytes_per_s, 1
                    link._load = times * weight
                    reached.append(link)
            flow.ceiling = ceiling
    return flows, reached if seed._contested else reached[1:]


def _fix(flow: _Flow, rate: float) -> None:
    """Settle on a share, and take it from what the flow's links have left for others."""
    flow.share = rate
    for link, times in flow.crossings:
        link._free -= times * rate
        link._load -= times * flow.weight
        link._open -= 1
